"""Views of a zoo: order, filters, splits, code."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.zoo.conftest import tiny
from weightatlas.errors import DataError, NoCode, ZooError
from weightatlas.networks import create_network
from weightatlas.population.score import score
from weightatlas.tasks import create_task
from weightatlas.weights.vector import to_state_dict
from weightatlas.zoo import Zoo
from weightatlas.zoo.populate import populate


def test_rows_and_columns(zoo: Zoo) -> None:
    assert len(zoo) == 2 * 4 * 4
    assert len(set(zoo.column("id"))) == 32
    assert len(set(zoo.column("network"))) == len(set(zoo.column("lineage"))) == 16
    assert set(zoo.column("step")) == set(zoo.column("epoch")) == {1, 2}
    gap = zoo.column("train_acc") - zoo.column("test_acc")
    assert np.allclose(gap, zoo.column("generalization_gap"))
    assert repr(zoo) == "Zoo('tiny', 32 rows of 16 networks)"
    with pytest.raises(ZooError, match="speed"):
        zoo.column("speed")


def test_views_keep_rows_and_columns_together(zoo: Zoo) -> None:
    index = np.array([5, 0, 31, 7])
    view = zoo[index]
    assert view.column("id").tolist() == zoo.column("id")[index].tolist()
    whole = zoo.batch().join([group.values for group in zoo.batch()])
    part = view.batch().join([group.values for group in view.batch()])
    assert torch.equal(part, whole[torch.from_numpy(index)])
    assert not torch.equal(part, whole[:4])
    assert zoo[3].column("id").tolist() == zoo[3:4].column("id").tolist() == [zoo.column("id")[3]]
    mask = zoo.column("step") == 2
    assert len(zoo[mask]) == len(zoo[torch.from_numpy(mask)]) == 16
    with pytest.raises(IndexError, match="32 networks"):
        zoo[32]
    with pytest.raises(ZooError, match="mask"):
        zoo[mask[:5]]


def test_filter(zoo: Zoo) -> None:
    assert len(zoo.filter(step=2, lr=1e-2)) == 8
    assert len(zoo.filter(activation=["relu", "gelu"])) == 16
    best = zoo.filter(test_acc=lambda a: a >= np.median(a))
    assert 0 < len(best) < 32
    assert best.column("test_acc").min() >= np.median(zoo.column("test_acc"))


def test_batch_groups_by_spec(zoo: Zoo) -> None:
    batch = zoo.batch(labels=("test_acc", "epoch"))
    assert len(batch.groups) == len(zoo.specs) == 2
    assert batch.labels["epoch"].dtype == torch.float32
    for group in batch:
        assert set(zoo[group.rows.numpy()].column("function_id")) == {group.spec.function_id}
    with pytest.raises(ZooError, match="text"):
        zoo.batch(labels=("init",))
    with pytest.raises(ZooError, match="2 specs"):
        zoo.weights()


def test_split_keeps_relatives_together(zoo: Zoo) -> None:
    parts = [zoo.split(name) for name in ("train", "val", "test")]
    assert sum(len(part) for part in parts) == len(zoo)
    families = [set(part.column("lineage")) for part in parts]
    assert not families[0] & families[1] | families[0] & families[2] | families[1] & families[2]
    assert "split by lineage" in repr(parts[0])


def test_split_needs_ten_lineages(zoo: Zoo) -> None:
    few = zoo.filter(network=list(set(zoo.column("network")))[:9])
    with pytest.raises(ZooError, match="at least 10 lineages, there are 9"):
        few.split("train")
    assert len(few.split("train", by="network")) > 0
    with pytest.raises(ZooError, match="empty"):
        zoo.split("train", by="official")


def test_population_reproduces_the_stored_accuracy(zoo: Zoo) -> None:
    task = zoo.task()
    inputs, labels = task.split("test")
    for spec in zoo.specs:
        group = zoo.weights(spec)
        found = score(zoo.population(spec), group.values, inputs, labels)["acc"].numpy()
        assert np.allclose(found, zoo.column("test_acc")[group.rows.numpy()], atol=1e-3)
        assert np.ptp(found) > 0.05


def test_state_dicts_load_into_the_module(zoo: Zoo) -> None:
    view = zoo.filter(activation="tanh")
    group = view.weights()
    network = create_network("mlp", channels_in=1, image_size=8, hidden=[4], activation="tanh").eval()
    inputs, labels = zoo.task().split("test")
    network.load_state_dict(to_state_dict(group.values[0], group.spec, view.signature(0)))
    with torch.no_grad():
        accuracy = zoo.task().score(network(inputs), labels)
    assert abs(float(accuracy) - view.column("test_acc")[0]) < 1e-3


def test_own_code_must_compute_the_same_function(trained: Path) -> None:
    spec = Zoo.open(trained).filter(activation="tanh").spec

    def other() -> nn.Module:
        return create_network("mlp", channels_in=1, image_size=8, hidden=[4], activation="relu")

    with pytest.raises(NoCode, match="computes function"):
        Zoo.open(trained, networks={spec.function_id: other}).population(spec)

    def same() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 10))

    population = Zoo.open(trained, networks={spec.function_id: same}).population(spec)
    assert population(torch.zeros(1, spec.params), torch.zeros(2, 1, 8, 8)).shape == (1, 2, 10)


def test_data_that_have_moved_are_known_by_their_contents(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (60, 8, 8), dtype=np.uint8), np.arange(60) % 3
    old, new = tmp_path / "old.npz", tmp_path / "new.npz"
    np.savez(old, x_train=images, y_train=labels)
    changes = {"task": f"npz:{old}", "task_options": {}, "epochs": 1, "checkpoints": [], "replicates": 1}
    populate(tiny(**changes, grid={"batch_size": [8]}), tmp_path / "zoo")
    old.rename(new)
    with pytest.raises(DataError, match="no file"):
        Zoo.open(tmp_path / "zoo").task()
    task = create_task(f"npz:{new}")
    zoo = Zoo.open(tmp_path / "zoo", tasks=[task])
    assert zoo.task() is task
    assert zoo.verify().rescored == 1


def test_other_data_are_refused(trained: Path) -> None:
    task = create_task("digits", train_size=96)
    other = type(task)(
        task.name, {**task.images, "test": task.images["val"]}, task.labels, 10, 16.0, task.options
    )
    with pytest.raises(DataError, match="sha256"):
        Zoo.open(trained, tasks=[other]).task()
    assert Zoo.open(trained, tasks=[task]).task() is task


def test_export(zoo: Zoo, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    view = zoo[:3]
    paths = view.export(tmp_path)
    state = load_file(paths[2])
    values = view.batch().join([group.values for group in view.batch()])[2]
    assert list(state) == ["1.bias", "1.weight", "3.bias", "3.weight"]
    assert torch.equal(state["1.weight"].flatten(), values[:256])
    assert len((tmp_path / "networks.csv").read_text().splitlines()) == 4
