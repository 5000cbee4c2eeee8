"""Benches of "Structure Is Not Enough": shared trainings, measured once, each exhibit its own numbers."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols import benches, cards, structure_trials
from weightatlas.evaluate.protocols.structure import BY_NETWORK, EXHIBITS, ZOO
from weightatlas.evaluate.protocols.structure_trials import (
    TRIALS,
    StructureConfig,
    measured,
    probe,
    quantiles,
    queries_of,
)
from weightatlas.predict import PropertyPredictor
from weightatlas.results import Record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("structure")


@pytest.fixture(scope="module")
def compute(there, cache, folder) -> list[Record]:
    return benches.get("structure_compute")(
        tier="smoke", out=folder / "compute.json", seeds=(0,), cache=cache
    )


def value(records: list[Record], method: str, metric: str) -> float:
    (found,) = [r for r in records if (r.method, r.metric) == (method, metric)]
    return found.value


def test_an_exhibit_compares_its_trials_with_the_zoo_on_both_splits(compute):
    methods = {r.method for r in compute}
    assert methods == {
        ZOO,
        "anchors",
        "CS",
        "CSB",
        f"CS{BY_NETWORK}",
        f"CSB{BY_NETWORK}",
        "CSB, half the passes",
    }
    splits = {r.method: r.split for r in compute}
    assert splits["CSB"] == "lineage"
    assert splits[f"CSB{BY_NETWORK}"] == "network"
    rebuilt = [value(compute, "CSB", f"accuracy, rebuilt at {q} %") for q in ("0", "50", "100")]
    assert rebuilt == sorted(rebuilt)


def test_exhibits_share_trainings(compute, there, cache, folder, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was trained again")

    monkeypatch.setattr(structure_trials, "fit", refuse)
    best = benches.get("structure_best")(tier="smoke", out=folder / "best.json", seeds=(0,), cache=cache)
    assert value(best, "CSB", "best accuracy, rebuilt") == value(compute, "CSB", "accuracy, rebuilt at 100 %")
    anchors = value(best, "anchors", "best accuracy")
    accuracy = there.exam.accuracy(there.exam.classes(there.train_values))
    assert anchors <= float(accuracy.max())
    with pytest.raises(AssertionError, match="trained again"):  # the control: another trial is trained
        benches.get("structure_beta")(tier="smoke", out=folder / "b.json", seeds=(0,), cache=cache)


def test_the_zoo_is_described_epoch_by_epoch(there, cache, folder):
    found = benches.get("structure_zoo")(tier="smoke", out=folder / "zoo.json", seeds=(0,), cache=cache)
    assert {r.method for r in found} == {ZOO, "epoch 2", "epoch 4"}
    early, late = (value(found, f"epoch {e}", "accuracy at 50 %") for e in (2, 4))
    assert early < late


def test_probes_are_kept_for_every_pass_and_survive_an_interruption(there, tmp_path):
    settings = StructureConfig(recipe="digits", passes=2, count=4)
    stage = type(there)(there.zoo, "smoke", tmp_path)
    numbers = measured(stage, "CS", 0, settings)
    assert {"R2 test accuracy after pass 1", "R2 test accuracy after pass 2"} <= set(numbers)
    assert numbers["R2 test accuracy after pass 2"] == pytest.approx(numbers["R2 test accuracy"], abs=1e-6)
    assert numbers["loss after pass 2"] != numbers["loss after pass 1"]
    assert numbers["steps left out"] == 0
    (kept,) = tmp_path.glob("runs/*/measured.json")
    assert json.loads(kept.read_text()) == numbers
    assert measured(stage, "CS", 0, settings) == numbers


def test_numbers_that_are_not_finite_are_left_out_instead_of_ending_the_bench(there, tmp_path, monkeypatch):
    """After a training of minutes, writing NaN as JSON ended in a traceback."""
    settings = StructureConfig(recipe="digits", passes=1, count=4)
    stage = type(there)(there.zoo, "smoke", tmp_path)
    monkeypatch.setattr(structure_trials, "rebuilt_numbers", lambda *_: {"KL": math.nan, "agreement": 0.5})
    done = SimpleNamespace(history=[], seconds=1.0)
    monkeypatch.setattr(structure_trials, "fit", lambda *_, **__: done)
    found = measured(stage, "CS", 0, settings)
    assert found["agreement"] == 0.5
    assert "KL" not in found
    assert measured(stage, "CS", 0, settings) == found


def test_probes_are_those_of_the_predictor(there):
    from weightatlas.encoders.io import create_encoder

    pca = create_encoder("pca", there.spec, latent=2)
    pca.adapt(there.train)
    found = probe(there, pca)["R2 test accuracy"]
    fitted = PropertyPredictor(pca, "ridge").fit(there.train, "test_acc", there.val)
    assert found == pytest.approx(fitted.score(there.test, "r2"), rel=1e-6)


def test_queries_are_as_many_as_the_training_images_and_from_where_they_are_said_to_be(there):
    noise = queries_of(there, "uniform", None)
    assert len(noise) == len(there.pool)
    assert noise.source == "uniform"
    assert queries_of(there, "train", None) is there.pool
    with pytest.raises(ConfigError, match="related"):
        queries_of(there, "related", None)


def test_unknown_trials_are_refused_before_anything_is_opened(tmp_path):
    with pytest.raises(ConfigError, match="no trial 'CSBB'"):
        benches.get("structure_best")(tier="smoke", out=tmp_path / "r.json", trials=("CSBB",))
    assert not list(tmp_path.iterdir())


def test_every_exhibit_names_known_trials_and_numbers():
    for exhibit in EXHIBITS:
        assert set(exhibit.trials) <= set(TRIALS)
        assert exhibit.shows in (benches.get(exhibit.name).__doc__ or "")
        assert cards[exhibit.name].columns == exhibit.columns
    assert list(quantiles("a", torch.arange(5.0)).values()) == pytest.approx([0, 0.2, 1, 2, 3, 3.8, 4])
