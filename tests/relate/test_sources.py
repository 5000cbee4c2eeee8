"""Networks from files and zoo rows."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.relate.small import mlp, networks
from tests.weights.files.collection import keras_file
from weightatlas.errors import DataError, FileError, ZooError
from weightatlas.relate.sources import open_network
from weightatlas.weights.vector import to_state_dict
from weightatlas.zoo.importers.folder import import_folder
from weightatlas.zoo.index import load_index
from weightatlas.zoo.store import write_shard
from weightatlas.zoo.table import Table


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


def zoo_of(folder, count=3):
    (folder / "files").mkdir()
    for place, row in enumerate(networks(mlp(), count)):
        state = {name: tensor.clone() for name, tensor in to_state_dict(row, mlp()).items()}
        save_file(state, folder / "files" / f"n{place}.safetensors")
    import_folder(folder / "files", folder / "zoo")
    return folder / "zoo"


def test_rows_of_a_zoo_are_named_by_id_or_number(tmp_path):
    zoo, values = zoo_of(tmp_path), networks(mlp(), 3)
    for row, place in (("0", 0), ("-1", 2), ("-3", 0), ("n1_safetensors", 1)):
        assert torch.equal(open_network(f"{zoo}:{row}").vector, values[place])
    for row in ("--5", "3", "-4", "\N{SUPERSCRIPT TWO}", "1.5", "+1", "", "n9"):
        with pytest.raises(ZooError, match=r"no network '.*'\.\n.*zoo:ID.*n0_saf.*zoo:ROW.*0 to 2.*-3 to -1"):
            open_network(f"{zoo}:{row}")


def test_references_that_lead_nowhere_say_what_forms_there_are(tmp_path):
    zoo = zoo_of(tmp_path)
    with pytest.raises(ZooError, match=r"is a zoo, not one network\.\n.*zoo:ID"):
        open_network(str(zoo))
    for source in (f"{tmp_path}/nowhere:1", f"{tmp_path}/files:1", ":1", ":"):
        with pytest.raises(FileError, match=r"There is no file .*\.\n.*FILE:NAME.*ZOO:ROW"):
            open_network(source)


def test_rows_that_diverged_are_not_called_missing(tmp_path):
    zoo = zoo_of(tmp_path)
    row = load_index(zoo).take(np.arange(1)).with_column("finite", [False]).with_column("id", ["burst"])
    table = Table(row.frame.drop("shard", "row", "shard_bytes", "shard_sha256"))
    write_shard(zoo, "ffff", networks(mlp(), 1) * torch.nan, table)
    with pytest.raises(DataError, match="zoo:burst holds NaN"):
        open_network(f"{zoo}:burst")
