"""Networks from files and zoo rows."""

import pytest
import torch
from safetensors.torch import save_file

from tests.relate.small import mlp, networks
from tests.weights.files.collection import keras_file
from weightatlas.errors import DataError, FileError
from weightatlas.relate.sources import open_network
from weightatlas.weights.vector import to_state_dict


def test_files_are_read_with_and_without_their_architecture(tmp_path):
    values = networks(mlp(), 1)[0]
    save_file({k: v.clone() for k, v in to_state_dict(values, mlp()).items()}, tmp_path / "a.safetensors")
    bare = open_network(str(tmp_path / "a.safetensors"))
    named = open_network(str(tmp_path / "a.safetensors"), "mlp", hidden=(20, 16))
    assert torch.equal(bare.vector, values)
    assert (bare.spec.graph, bare.spec.groups) == (None, (20, 16))
    assert named.spec == mlp()
    with pytest.raises(FileError):
        open_network(str(tmp_path / "missing.pt"))


def test_networks_that_are_not_finite_are_refused_by_name(tmp_path):
    save_file({"a.weight": torch.tensor([[1.0, torch.nan]])}, tmp_path / "broken.safetensors")
    with pytest.raises(DataError, match=r"broken\.safetensors holds NaN"):
        open_network(str(tmp_path / "broken.safetensors"))


def test_flattens_of_keras_files_keep_their_channels_fixed(tmp_path):
    keras_file(tmp_path / "a.h5")
    assert open_network(str(tmp_path / "a.h5")).spec.groups == ()


def test_one_of_several_networks_is_named(tmp_path):
    path = tmp_path / "both.pt"
    values = networks(mlp(), 2)
    torch.save({name: to_state_dict(row, mlp()) for name, row in zip("ab", values, strict=True)}, path)
    with pytest.raises(FileError, match=r"Name one, both\.pt:a"):
        open_network(str(path))
    assert torch.equal(open_network(f"{path}:b").vector, values[1])
    with pytest.raises(FileError, match=r"holds no network 'c'\.\n  It holds 'a', 'b'"):
        open_network(f"{path}:c")
