"""Shards: exact in half the room, and nothing damaged is ever read as whole."""

import hashlib
import json
import logging
import os
import subprocess
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from weightatlas.atomic import write_bytes
from weightatlas.errors import FileError, ZooError
from weightatlas.zoo import Zoo
from weightatlas.zoo.header import check_folder
from weightatlas.zoo.index import load_index
from weightatlas.zoo.populate import populate
from weightatlas.zoo.store import (
    clean,
    leftovers,
    read_sidecar,
    read_weights,
    shard_keys,
    smallest_exact,
    write_shard,
)
from weightatlas.zoo.table import Table
from weightatlas.zoo.verify import verify_folder

from .conftest import tiny


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (torch.randn(3, 5).half().float(), torch.float16),
        (torch.randn(3, 5).bfloat16().float() * 2.0**100, torch.bfloat16),
        (torch.randn(3, 5), torch.float32),
        (torch.tensor([[1.5, float("inf"), -0.0]]), torch.float16),
    ],
)
def test_smallest_exact_dtype(values: torch.Tensor, dtype: torch.dtype, tmp_path: Path) -> None:
    assert smallest_exact(values).dtype == dtype
    write_shard(tmp_path, "a", values, Table.of({"id": list("abc")[: len(values)]}))
    size = (tmp_path / "weights/a.safetensors").stat().st_size
    back = read_weights(tmp_path, "a", size, torch.arange(len(values)))
    assert torch.equal(back.view(torch.int32), values.view(torch.int32))


def test_a_shard_is_never_rewritten(tmp_path: Path) -> None:
    write_shard(tmp_path, "a", torch.zeros(1, 2), Table.of({"id": ["x"]}))
    before = (tmp_path / "weights/a.safetensors").read_bytes()
    write_shard(tmp_path, "a", torch.ones(1, 2), Table.of({"id": ["x"]}))
    assert (tmp_path / "weights/a.safetensors").read_bytes() == before


def test_two_writers_of_a_shard_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[Thread] = []

    def write(value: float) -> None:
        write_shard(tmp_path, "a", torch.full((1, 2), value), Table.of({"id": [str(value)]}))

    def interrupted(path: Path, data: bytes) -> None:
        write_bytes(path, data)
        if path.suffix == ".safetensors" and not others:
            others.append(Thread(target=write, args=(2.0,)))
            others[0].start()
            others[0].join(0.3)  # time to come between, if nothing holds it back

    monkeypatch.setattr("weightatlas.zoo.store.write_bytes", interrupted)
    write(1.0)
    others[0].join()
    (row,) = read_sidecar(tmp_path, "a").rows()
    data = (tmp_path / "weights/a.safetensors").read_bytes()
    assert row["id"] == "1.0"
    assert hashlib.sha256(data).hexdigest() == row["shard_sha256"]


def test_whole_zoo_verifies(zoo: Zoo) -> None:
    found = zoo.verify(sample=8)
    assert found.ok
    assert (found.shards, found.rows, found.rescored) == (4, 32, 8)


def test_truncated_shard(copy: Path) -> None:
    path = sorted((copy / "weights").glob("*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:-100])
    zoo = Zoo.open(copy)
    with pytest.raises(FileError, match="truncated"):
        zoo.batch()
    found = zoo.verify()
    assert not found.ok
    assert path.name in found.problems[0]
    path.unlink()
    with pytest.raises(FileError, match="is missing"):
        zoo.batch()


def test_flipped_byte_in_a_shard(copy: Path) -> None:
    path = sorted((copy / "weights").glob("*.safetensors"))[1]
    flip(path, path.stat().st_size - 9)
    found = Zoo.open(copy).verify()
    assert len(found.problems) == 1
    assert path.name in found.problems[0]
    assert "changed byte" in found.problems[0]


def test_any_flipped_byte_in_a_sidecar(copy: Path) -> None:
    path = sorted((copy / "weights").glob("*.parquet"))[0]
    whole = path.read_bytes()
    for position in range(0, len(whole), 97):
        flip(path, position)
        with pytest.raises(FileError, match="damaged"):
            Table.from_bytes(path.read_bytes(), str(path))
        path.write_bytes(whole)
    assert len(Table.from_bytes(whole, str(path))) == 8
    flip(path, 20)
    assert path.name in verify_folder(copy).problems[0]
    (copy / "networks.parquet").unlink()
    with pytest.raises(FileError, match="Restore"):
        Zoo.open(copy)


def test_missing_sidecar_means_no_shard(copy: Path) -> None:
    key = shard_keys(copy)[0]
    (copy / "weights" / f"{key}.parquet").unlink()
    (copy / "weights" / ".x.tmp").write_text("half")
    assert len(Zoo.open(copy)) == 24
    assert len(leftovers(copy)) == 2
    assert len(Zoo.open(copy).verify(sample=0).notes) == 2
    assert clean(copy) == []
    assert len(clean(copy, age=-1)) == 2
    assert Zoo.open(copy).verify(sample=0).notes == ()
    assert len(populate(tiny(), copy)) == 32


def test_damaged_index_is_rebuilt(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    flip(copy / "networks.parquet", 50)
    with caplog.at_level(logging.WARNING, "weightatlas"):
        assert len(Zoo.open(copy)) == 32
    assert "rebuilt" in caplog.text
    assert len(load_index(copy)) == 32


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:500], "damaged"),
        (lambda text: text.replace('"members": 4', '"members": 5', 1), "checksum"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "format 2"),
        (lambda text: "[]", "damaged"),
    ],
)
def test_damaged_header(copy: Path, damage: object, words: str) -> None:
    path = copy / "zoo.json"
    text = path.read_text()
    assert damage(text) != text
    path.write_text(damage(text))
    with pytest.raises(FileError, match=words):
        Zoo.open(copy)
    assert not verify_folder(copy).ok


def test_wrong_stored_metrics_are_found(copy: Path) -> None:
    key = shard_keys(copy)[0]
    path = copy / "weights" / f"{key}.parquet"
    table = Table.from_bytes(path.read_bytes(), str(path))
    path.write_bytes(table.with_column("test_acc", table.column("test_acc") + 0.1).to_bytes())
    (copy / "networks.parquet").unlink()
    found = Zoo.open(copy).verify(sample=32)
    assert len(found.problems) == 8
    assert "test_acc" in found.problems[0]


def test_not_a_zoo(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="not a zoo"):
        Zoo.open(tmp_path / "nothing")
    (tmp_path / ".zoo.json.0123abcd.tmp").write_text("{")  # what a run leaves that was killed at once
    check_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ZooError, match=r"holds notes\.txt"):
        populate(tiny(), tmp_path)
    with pytest.raises(FileError, match="is a file"):
        populate(tiny(), tmp_path / "notes.txt")
    with pytest.raises(FileError, match="a part of the path is a file"):
        populate(tiny(), tmp_path / "notes.txt" / "zoo")


def test_full_disk_leaves_no_half_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shard(tmp_path, "a", torch.zeros(1, 2), Table.of({"id": ["x"]}))

    def full(path: Path, data: bytes) -> int:
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FileError, match="disk is full"):
        write_shard(tmp_path, "b", torch.zeros(1, 2), Table.of({"id": ["y"]}))
    assert shard_keys(tmp_path) == ["a"]
    assert leftovers(tmp_path) == []


def test_really_full_disk(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if os.name != "posix" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        write_shard(tmp_path / "zoo", "a", torch.randn(1, 1000), Table.of({"id": ["x"]}))
        with pytest.raises(FileError, match="disk is full"):
            write_shard(tmp_path / "zoo", "b", torch.randn(100, 1000), Table.of({"id": ["y"] * 100}))
        assert shard_keys(tmp_path / "zoo") == ["a"]
        assert leftovers(tmp_path / "zoo") == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_diverged_networks_are_kept_apart(copy: Path) -> None:
    table = load_index(copy).take(np.arange(2))
    values = torch.randn(2, 4 * 64 + 4 + 50)
    values[1, 3] = float("nan")
    rows = table.with_column("finite", [True, False]).with_column("id", ["new-1", "new-2"])
    drop = Table(rows.frame.drop("shard", "row", "shard_bytes", "shard_sha256"))
    write_shard(copy, "ffff", values, drop)
    zoo = Zoo.open(copy)
    assert len(zoo) == 33
    assert zoo.diverged == 1
    assert "1 diverged" in repr(zoo)
    assert len(Zoo.open(copy, diverged=True)) == 34
    assert zoo.verify(sample=0).ok
    assert json.loads((copy / "zoo.json").read_text())["format"] == 1


def test_a_shard_without_a_value_leaves_the_numbers_of_others_numbers() -> None:
    tables = [Table.of({"std": [None, None], "name": [None, None]}), Table.of({"std": [0.5], "name": [None]})]
    joined = Table.concat(tables)
    assert np.array_equal(joined.column("std"), [np.nan, np.nan, 0.5], equal_nan=True)
    assert joined.column("name").tolist() == [None] * 3
    again = Table.concat([Table.from_bytes(joined.to_bytes(), "joined"), Table.of({"name": ["x"]})])
    assert again.column("name").tolist() == [None] * 3 + ["x"]
    assert again.column("std").dtype == np.float64
