"""Mapped zoos are the same networks, read from a file."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch

from weightatlas.errors import FileError
from weightatlas.zoo import Zoo
from weightatlas.zoo import mapped as module
from weightatlas.zoo.mapped import mapped, within


def test_a_mapped_batch_equals_the_zoo(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE_MB", 1e-3)  # two rows at a time
    part = zoo.split("train")
    ours, theirs = mapped(part, tmp_path / "rows"), part.batch()
    assert len(ours.groups) == len(theirs.groups) == len(part.specs)
    for found, expected in zip(ours, theirs, strict=True):
        assert torch.equal(found.values, expected.values)
        assert torch.equal(found.rows, expected.rows)
        assert found.spec == expected.spec


def test_the_file_is_used_again_only_for_the_same_networks(zoo: Zoo, tmp_path: Path) -> None:
    mapped(zoo, tmp_path / "rows")
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    mapped(zoo, tmp_path / "rows")
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    half = zoo.filter(step=2)
    found = mapped(half, tmp_path / "rows")
    assert torch.equal(found.groups[0].values, half.batch().groups[0].values)


def test_other_networks_of_the_same_names_are_not_mistaken(zoo: Zoo, tmp_path: Path) -> None:
    first = mapped(zoo, tmp_path / "rows")
    values = first.groups[0].values.clone()
    others = Zoo(zoo._source, zoo.table.take(np.arange(len(zoo))[::-1].copy()))
    renamed = Zoo(zoo._source, others.table.with_column("id", zoo.column("id")))
    found = mapped(renamed, tmp_path / "rows")
    for ours, theirs in zip(found, renamed.batch(), strict=True):
        assert torch.equal(ours.values, theirs.values)
    assert torch.equal(first.groups[0].values, values)  # what is mapped already stays what it was


def test_a_full_disk_is_a_named_error(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Zoo, "weights", full)
    with pytest.raises(FileError, match="the disk is full"):
        mapped(zoo, tmp_path / "rows")
    assert list(tmp_path.iterdir()) == []


def test_small_zoos_stay_in_memory(zoo: Zoo, tmp_path: Path) -> None:
    names = ("test_acc", "step")
    memory, file = (within(zoo, tmp_path / "rows", limit, names) for limit in (100.0, 1e-3))
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".0", ".ids", ".1", ".ids"]
    for ours, theirs in zip(memory, file, strict=True):
        assert torch.equal(ours.values, theirs.values)
    for name in names:
        assert torch.equal(memory.labels[name], file.labels[name])
