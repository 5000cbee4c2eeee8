"""The small CNN zoo: TensorFlow's order and back, settings, official split, damage."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.zoo.importers.fixtures import official_order, small_cnn_zoo, tensorflow_outputs
from weightatlas.errors import ConfigError, DataError, FileError, ZooError
from weightatlas.zoo.importers.published import format_of, import_published
from weightatlas.zoo.importers.tf_layout import layout_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    folder = tmp_path_factory.mktemp("zoo") / "cifar10"
    weights = small_cnn_zoo(folder)
    return folder, weights, official_order(folder, len(weights))


@pytest.fixture(scope="module")
def done(made: tuple[Path, np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory):
    return import_published(made[0], tmp_path_factory.mktemp("out") / "zoo")


def test_networks_compute_what_they_computed_in_tensorflow(made, done) -> None:
    folder, weights, _ = made
    assert format_of(folder) == "unterthiner"
    images = np.random.default_rng(2).normal(size=(3, 32, 32, 1))
    for row in (0, 4):
        part = done.zoo.filter(source=f"weights.npy:{row}")
        inputs = torch.from_numpy(images.transpose(0, 3, 1, 2)).float()
        found = part.population(engine="loop")(part.weights().values, inputs)[0]
        wanted = tensorflow_outputs(weights[row], images, part.column("activation")[0])
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_the_inverse_gives_the_file_back(made, done) -> None:
    layout = layout_of(done.zoo.header)
    for spec in done.zoo.specs:
        own = done.zoo.weights(spec)
        rows = [int(s.rpartition(":")[2]) for s in done.zoo.column("source")[own.rows.numpy()]]
        np.testing.assert_array_equal(layout.to_published(own.values).numpy(), made[1][rows])


def test_settings_and_metrics_become_columns(done) -> None:
    zoo = done.zoo
    assert (len(zoo), len(zoo.specs), done.coverage) == (36, 2, 1.0)
    assert set(zoo.column("init")) == {"kaiming_normal"}
    run = zoo.filter(network="run_00003", step=86)
    assert run.column("lr")[0] == pytest.approx(0.004)
    assert run.column("test_acc")[0] == pytest.approx(0.25)
    assert run.column("weight_decay")[0] == pytest.approx(2e-4)
    assert run.column("generalization_gap")[0] == pytest.approx(0.25)
    assert sorted(set(zoo.column("epoch"))) == [0, 20, 86]


def test_lineages_are_runs_and_the_split_keeps_them_together(done) -> None:
    zoo = done.zoo
    assert len(set(zoo.column("lineage"))) == 12
    for run in set(zoo.column("network")):
        assert len(set(zoo.filter(network=run).column("split"))) == 1


def test_the_official_split_is_that_of_the_published_code(made, done) -> None:
    """Order, keep the last step, second half is test, shuffle the first with seed 0, cut at 80 %."""
    order = [row for row in made[2] if row % 3 == 2]
    front = list(range(6))
    random.Random(0).shuffle(front)
    wanted = {order[place] // 3: ("train" if index < 4 else "val") for index, place in enumerate(front)}
    wanted |= {row // 3: "test" for row in order[6:]}
    zoo = done.zoo
    found = dict(zip(zoo.column("network"), zoo.column("split_official"), strict=True))
    assert found == {f"run_{run:05d}": part for run, part in wanted.items()}
    assert len(zoo.split("test", by="official").filter(step=86)) == 6


def test_without_a_split_file_a_note_says_so(tmp_path: Path) -> None:
    small_cnn_zoo(tmp_path / "mnist", runs=2)
    done = import_published(tmp_path / "mnist", tmp_path / "zoo")
    assert any("no official split" in note for note in done.notes)
    with pytest.raises(ZooError, match="official is empty"):
        done.zoo.split("test", by="official")


def test_networks_that_diverged_are_kept_and_marked(tmp_path: Path) -> None:
    weights = small_cnn_zoo(tmp_path / "svhn", runs=2)
    weights[1, 5] = np.nan
    np.save(tmp_path / "svhn" / "weights.npy", weights)
    zoo = import_published(tmp_path / "svhn", tmp_path / "zoo").zoo
    assert zoo.diverged == 1
    assert len(zoo) == 6


def test_an_interrupted_import_continues(tmp_path: Path) -> None:
    small_cnn_zoo(tmp_path / "a", runs=2)
    first = import_published(tmp_path / "a", tmp_path / "zoo")
    again = import_published(tmp_path / "a", tmp_path / "zoo")
    assert len(first.zoo) == len(again.zoo) == 6


def test_damage_and_contradictions_are_named(tmp_path: Path) -> None:
    weights = small_cnn_zoo(tmp_path / "a", runs=2)
    file = tmp_path / "a" / "weights.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(FileError, match="truncated"):
        import_published(tmp_path / "a", tmp_path / "zoo")
    np.save(file, weights[:-1])
    with pytest.raises(DataError, match=r"6 rows, weights.npy has 5 networks"):
        import_published(tmp_path / "a", tmp_path / "zoo")
    np.save(file, weights[:, :-1])
    with pytest.raises(DataError, match="4,969 columns"):
        import_published(tmp_path / "a", tmp_path / "zoo")
    file.write_bytes(whole)
    official_order(tmp_path / "a", 7)
    with pytest.raises(DataError, match=r"orders 7 rows, weights.npy has 6"):
        import_published(tmp_path / "a", tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


def test_a_limit_takes_the_first_networks(made, tmp_path: Path) -> None:
    done = import_published(made[0], tmp_path / "zoo", limit=5)
    assert (len(done.zoo), done.found) == (5, 36)
    assert any("stopped after the 5 networks" in note for note in done.notes)
    whole = import_published(made[0], tmp_path / "zoo")
    assert (len(whole.zoo), whole.coverage) == (36, 1.0)
    assert len(set(whole.zoo.column("id"))) == 36
    with pytest.raises(ConfigError, match="at least 1"):
        import_published(made[0], tmp_path / "other", limit=0)
