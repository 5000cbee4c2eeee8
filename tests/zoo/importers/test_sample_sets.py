"""Pickled data sets of hyper-representations, as state dicts and vectors; matrices with index_dict.json."""

import json
from collections import OrderedDict
from pathlib import Path, PosixPath

import numpy as np
import pytest
import torch

from tests.zoo.importers.fixtures import ModuleList, save_objects, their_class
from weightatlas.errors import DataError, ZooError
from weightatlas.zoo.importers.published import format_of, import_published
from weightatlas.zoo.importers.schuerholt import shapes_of

INDEX = {
    "layer": [[0, "conv2d"], [3, "conv2d"], [6, "conv2d"], [9, "fc"], [11, "fc"]],
    "idx_start": [0, 208, 1414, 1514, 2254],
    "idx_length": [208, 1206, 100, 740, 210],
    "kernel_no": [8, 6, 4, 20, 10],
    "kernel_size": [25, 25, 4, 9, 1],
    "channels_in": [1, 8, 6, 4, 20],
}
MODULE = "ghrp.checkpoints_to_datasets.dataset_simclr"


def write(folder: Path, vectors: bool) -> list[ModuleList]:
    folder.mkdir()
    networks = [ModuleList() for _ in range(6)]
    made = their_class(MODULE, "SimCLRDataset")
    sets = {}
    for key, part in (("trainset", networks[:4]), ("valset", networks[4:5]), ("testset", networks[5:])):
        states = [OrderedDict(network.state_dict()) for network in part]
        flat = [torch.cat([tensor.flatten() for tensor in state.values()]) for state in states]
        sets[key] = made()
        sets[key].__dict__ |= {
            "data_in": flat if vectors else states,
            "data_out": flat,
            "root": [PosixPath("/theirs/zoo")],
            "paths": [PosixPath(f"/theirs/zoo/{key}_{i // 2}") for i in range(len(part))],
            "epochs": [10 * (1 + i % 2) for i in range(len(part))],
            "properties": {
                "test_acc": [0.1 * i for i in range(len(part))],
                "optim::lr": [0.1] * len(part),
            },
        }
    save_objects(sets, folder / "dataset.pt", "ghrp")
    (folder / "config_ae.json").write_text(json.dumps({"model::index_dict": INDEX if vectors else None}))
    (folder / "config_zoo.json").write_text(json.dumps({"model::nlin": "tanh", "model::type": "CNN"}))
    return networks


@pytest.mark.parametrize("vectors", [False, True])
def test_samples_become_networks_that_compute_the_same(tmp_path: Path, vectors: bool) -> None:
    networks = write(tmp_path / "mnist", vectors)
    assert format_of(tmp_path / "mnist") == "sample_sets"
    zoo = import_published(tmp_path / "mnist", tmp_path / "zoo").zoo
    images = torch.randn(2, 1, 28, 28)
    outputs = zoo.population(engine="loop")(zoo.weights().values, images)
    for network, found in zip(networks, outputs, strict=True):
        torch.testing.assert_close(found, network(images), rtol=1e-4, atol=1e-5)
    assert [len(zoo.split(part, by="official")) for part in ("train", "val", "test")] == [4, 1, 1]
    assert zoo.column("step").tolist() == [10, 20, 10, 20, 10, 10]
    assert set(zoo.column("lineage")) == {"trainset_0", "trainset_1", "valset_0", "testset_0"}
    assert zoo.column("test_acc")[3] == pytest.approx(0.3)
    assert set(zoo.column("optim_lr")) == {0.1}


def test_vectors_without_layers_are_named(tmp_path: Path) -> None:
    write(tmp_path / "mnist", True)
    (tmp_path / "mnist" / "config_ae.json").write_text("{}")
    with pytest.raises(ZooError, match="no index_dict beside"):
        import_published(tmp_path / "mnist", tmp_path / "zoo")


def test_a_matrix_with_its_index_becomes_networks(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    folder.mkdir()
    networks = [ModuleList() for _ in range(3)]
    rows = [torch.cat([t.flatten() for t in network.state_dict().values()]) for network in networks]
    np.save(folder / "weights.npy", torch.stack(rows).numpy())
    (folder / "index_dict.json").write_text(json.dumps(INDEX))
    lines = ["modeldir,step,test_accuracy,config.activation", *(f"/a/m{i},9,0.{i},tanh" for i in range(3))]
    (folder / "metrics.csv").write_text("\n".join(lines))
    assert format_of(folder) == "vector_zoo"
    zoo = import_published(folder, tmp_path / "zoo").zoo
    images = torch.randn(2, 1, 28, 28)
    found = zoo.population(engine="loop")(zoo.weights().values, images)[2]
    torch.testing.assert_close(found, networks[2](images), rtol=1e-4, atol=1e-5)
    assert zoo.column("test_acc").tolist() == [0.0, 0.1, 0.2]
    lines[3] = lines[2]
    (folder / "metrics.csv").write_text("\n".join(lines))
    done = import_published(folder, tmp_path / "twice")
    assert (done.read, done.found, len(done.zoo)) == (2, 3, 2)
    assert done.skipped == {"weights.npy:2": "another network is called m1-0009, too"}
    np.save(folder / "weights.npy", np.zeros((3, 8), np.float32))
    with pytest.raises(DataError, match="describes 2,464 numbers"):
        import_published(folder, tmp_path / "again")


def test_an_index_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(DataError, match="layer 3 has 1206 numbers from 209"):
        shapes_of({**INDEX, "idx_start": [0, 209, 1414, 1514, 2254]}, "here")
    with pytest.raises(DataError, match="lacks kernel_no"):
        shapes_of({key: value for key, value in INDEX.items() if key != "kernel_no"}, "here")
