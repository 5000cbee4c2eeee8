"""Checkpoints: good ones are read, all others are refused by name, and no code ever runs."""

import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from weightatlas.errors import FileError
from weightatlas.weights import files


def read_checkpoint(path):
    checkpoint = files.read_checkpoint(path)
    return checkpoint.network.tensors, checkpoint


@pytest.fixture
def state():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).state_dict()


def same(found, state):
    return set(found) == set(state) and all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize("kind", ["safetensors", "torch zip", "torch legacy"])
def test_every_format_is_told_from_its_content(tmp_path, state, kind):
    path = tmp_path / "weights"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "torch zip")
    found, report = read_checkpoint(path)
    assert same(found, state)
    assert (report.format, report.network.renamed, report.network.opened) == (kind, (), ())


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "network", "module"])
def test_wrappers_are_opened_and_reported(tmp_path, state, key):
    torch.save({key: state, "epoch": 3, "optimizer": {"state": {}, "lr": 0.1}}, tmp_path / "a.pt")
    found, report = read_checkpoint(tmp_path / "a.pt")
    assert same(found, state)
    assert report.network.opened == (key,)
    assert set(report.report.skipped) == {"epoch", "optimizer"}


def test_nested_wrappers_are_opened(tmp_path, state):
    torch.save({"model": {"state_dict": state}}, tmp_path / "a.pt")
    found, report = read_checkpoint(tmp_path / "a.pt")
    assert same(found, state)
    assert report.network.opened == ("model", "state_dict")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrappers_are_removed_and_each_rename_reported(tmp_path, state, prefix):
    torch.save({prefix + key: value for key, value in state.items()}, tmp_path / "a.pt")
    found, report = read_checkpoint(tmp_path / "a.pt")
    assert same(found, state)
    assert report.network.renamed == tuple((prefix + key, key) for key in state)


def test_a_prefix_that_only_some_names_have_stays(tmp_path, state):
    mixed = state | {"module.extra": torch.ones(1)}
    torch.save(mixed, tmp_path / "a.pt")
    found, report = read_checkpoint(tmp_path / "a.pt")
    assert same(found, mixed)
    assert report.network.renamed == ()


def test_dtypes_survive(tmp_path):
    mixed = {
        "a": torch.ones(2, dtype=torch.bfloat16),
        "b": torch.ones(2, dtype=torch.int8),
        "c": torch.ones(1).half(),
    }
    torch.save(mixed, tmp_path / "a.pt")
    found, _ = read_checkpoint(tmp_path / "a.pt")
    assert {key: value.dtype for key, value in found.items()} == {key: v.dtype for key, v in mixed.items()}


class Harmful:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["torch zip", "torch legacy", "pickle", "old pickle"])
def test_code_in_a_file_is_refused_and_never_run(tmp_path, kind):
    path, trap = tmp_path / "a.pt", tmp_path / "executed"
    content = {"weight": torch.ones(2), "trap": Harmful(trap)}
    if kind.endswith("pickle"):
        path.write_bytes(pickle.dumps({"trap": Harmful(trap)}, protocol=2 if "old" in kind else 4))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "torch zip")
    with pytest.raises(FileError, match=r"a\.pt"):
        read_checkpoint(path)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Harmful(trap)))
    assert trap.exists(), "the trap works when it is opened carelessly"


@pytest.mark.parametrize("kind", ["safetensors", "torch zip", "torch legacy"])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.6, 0.95])
def test_truncated_files_are_a_named_error(tmp_path, state, kind, keep):
    path = tmp_path / "a.pt"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "torch zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(FileError, match=r"a\.pt"):
        read_checkpoint(path)


def test_a_flipped_byte_in_a_zip_is_found(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"w": torch.arange(1000.0)}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"damaged(.|\n)*checksum"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content", [b"hello, this is text", b"\x80garbage that is no pickle", b"PK\x03\x04 no zip"]
)
def test_other_files_are_a_named_error(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(FileError, match=r"a\.pt"):
        read_checkpoint(tmp_path / "a.pt")


def test_a_foreign_zip_is_a_named_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("note.txt", "hello")
    with pytest.raises(FileError, match=r"a\.zip"):
        read_checkpoint(tmp_path / "a.zip")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {}}, torch.ones(2)])
def test_files_without_named_tensors_say_what_they_hold(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(FileError, match="holds no named tensors"):
        read_checkpoint(tmp_path / "a.pt")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileError, match="no file"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(FileError, match="is a folder"):
        read_checkpoint(tmp_path)


def test_only_moving_averages_are_passed_over_for_the_network_they_follow(tmp_path, state):
    torch.save({"net": state, "netEMA": state, "target_net": state}, tmp_path / "a.pt")
    assert files.read_checkpoint(tmp_path / "a.pt").network.name == "net"
    torch.save({"backbone": state, "semantic": state}, tmp_path / "b.pt")
    with pytest.raises(FileError, match="holds 2 networks"):
        read_checkpoint(tmp_path / "b.pt")
