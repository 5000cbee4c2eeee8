"""Whole modules in pickles: read like their state dicts, without their classes; what does harm is refused."""

import io
import pickle

import numpy as np
import pytest
import torch
from sklearn.neural_network import MLPClassifier
from torch import nn

from weightatlas.errors import FileError
from weightatlas.weights.files import read_checkpoint


class Net(nn.Module):
    """A class that the reader cannot know."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.fc = nn.Linear(4, 2)
        self.activation = torch.nn.functional.relu
        self.extra = nn.Parameter(torch.ones(3))
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("mask", torch.ones(2), persistent=False)


class Agent:
    """An object around networks."""

    def __init__(self):
        self.actor, self.critic, self.steps = nn.Linear(3, 2), nn.Linear(3, 1), 7
        self.memory = np.ones((50, 3))


class Setting:
    rate = 0.1


def written(path, content, kind):
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    elif kind == "pickle 2":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    return path


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "pickle 2"])
def test_a_whole_module_is_read_like_its_state_dict(tmp_path, kind):
    network = Net()
    found = read_checkpoint(written(tmp_path / "a.pt", network, kind))
    assert found.format.endswith("(module)")
    tensors, state = found.network.tensors, network.state_dict()
    assert set(tensors) == set(state)
    assert all(tensors[name].equal(state[name]) for name in state)


def test_modules_are_found_in_wrappers_dictionaries_and_objects(tmp_path):
    whole = {"model": nn.DataParallel(Net()), "ema": None, "opt": Setting(), "epoch": 3}
    found = read_checkpoint(written(tmp_path / "a.pt", whole, "zip"))
    assert set(found.network.tensors) == set(Net().state_dict())
    assert found.report.skipped["opt"] == f"not a tensor ({__name__}.Setting)"
    agent = read_checkpoint(written(tmp_path / "b.pt", Agent(), "zip"))
    assert {network.name: len(network.tensors) for network in agent.networks} == {"actor": 2, "critic": 2}


def test_a_state_dict_beside_an_object_of_an_unknown_class_is_read(tmp_path):
    content = {"state_dict": nn.Linear(2, 3).state_dict(), "config": Setting()}
    assert set(read_checkpoint(written(tmp_path / "a.pt", content, "legacy")).network.tensors) == {
        "weight",
        "bias",
    }


def test_old_files_with_the_source_of_classes_are_read(tmp_path):
    """Files of early versions keep the class, its file and its source in place of its name."""

    seen = []

    class Keeper(pickle.Pickler):
        def persistent_id(self, obj):
            if obj is not nn.Linear or seen:
                return None
            seen.append(obj)
            return ("module", obj, "net.py", "class Net: ...")

    buffer = io.BytesIO()
    Keeper(buffer, protocol=2).dump(nn.Linear(2, 3))
    (tmp_path / "a.pkl").write_bytes(buffer.getvalue())
    assert set(read_checkpoint(tmp_path / "a.pkl").network.tensors) == {"weight", "bias"}


def test_a_perceptron_of_scikit_learn_is_a_network(tmp_path):
    inputs, labels = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    fitted = MLPClassifier((4,), max_iter=400, tol=1.0).fit(inputs, labels)
    tensors = read_checkpoint(written(tmp_path / "a.pkl", fitted, "pickle")).network.tensors
    assert [tuple(tensor.shape) for tensor in tensors.values()] == [(3, 4), (4, 1), (4,), (1,)]


@pytest.mark.parametrize("name", ["posix.mkdir", "builtins.exec", "pip.main", "numpy.testing.runstring"])
@pytest.mark.parametrize("beside", [b"", pickle.dumps(nn.Linear(2, 2), protocol=2)[2:-1]])
def test_what_does_harm_is_refused_beside_a_module_too(tmp_path, name, beside):
    room, _, last = name.rpartition(".")
    harm = f"c{room}\n{last}\n(X\x01\x00\x00\x00xtR".encode()
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02(" + beside + harm + b"t.")
    with pytest.raises(FileError, match=f"would run code(.|\n)*{name}"):
        read_checkpoint(tmp_path / "a.pkl")


def test_objects_without_a_network_are_named(tmp_path):
    with pytest.raises(FileError, match=r"Setting(.|\n)*"):
        read_checkpoint(written(tmp_path / "a.pkl", Setting(), "pickle"))
