"""Predictions between zoos: means over pairs and rows, cached predictions, methods that refuse."""

from pathlib import Path

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.cross import CrossConfig, Crossing, measured, predictions, summarized
from weightatlas.evaluate.protocols.cross_architecture import cross_architecture
from weightatlas.evaluate.protocols.cross_dataset import cross_dataset
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.results import Record

SCORES = {"coverage": 0.5, "width": 0.2}


@pytest.fixture(scope="module")
def records(cache: Path) -> list[Record]:
    return cross_dataset("smoke", cache / "cross.json", (0,), cache / "cross")


def test_rows_and_distributions_are_means_of_pairs() -> None:
    a, b = ("cnn", "mnist"), ("cnn", "letters")
    taus = {(a, a): 0.8, (a, b): 0.4, (b, a): 0.2, (b, b): 0.6}
    found = summarized({pair: {"tau": tau, **SCORES} for pair, tau in taus.items()})
    assert found["tau"] == pytest.approx(0.5)
    assert found["tau from mnist"] == pytest.approx(0.6)
    assert found["tau in distribution"] == pytest.approx(0.7)
    assert found["tau across"] == pytest.approx(0.3)
    assert found["tau: letters to mnist"] == pytest.approx(0.2)
    other = ("mlp", "mnist")
    found = summarized({(a, other): {"tau": 0.3, **SCORES}, (b, other): {"tau": 0.5, **SCORES}})
    assert found["tau cnn to mlp"] == pytest.approx(0.4)
    assert "tau in distribution" not in found


def test_a_bench_holds_every_pair_of_every_method(records: list[Record]) -> None:
    settings = settings_of("cross_dataset", "smoke", CrossConfig, {})
    assert {record.method for record in records} == set(settings.methods)
    pairs = {f"tau: {one} to {other}" for one in settings.tasks for other in settings.tasks}
    for method in settings.methods:
        found = {record.metric: record.value for record in records if record.method == method}
        assert pairs <= set(found)
        assert found["tau"] == pytest.approx(sum(found[pair] for pair in pairs) / len(pairs))
        assert 0 <= found["coverage in distribution"] <= 1


def test_nothing_is_measured_or_predicted_twice(records: list[Record], cache: Path) -> None:
    again = cross_dataset("smoke", cache / "cross.json", (0,), cache / "cross")
    assert len(again) == len(records)
    settings = settings_of("cross_dataset", "smoke", CrossConfig, {})
    there = Crossing(settings, "smoke", cache / "cross")
    places = [("digits_cnn", task) for task in settings.tasks]
    name = "ours, together"
    both = predictions(there, name, places[0], places, 0)
    parts = [predictions(there, part, places[0], places, 0) for part in settings.together[name]]
    assert both is not None
    expected = torch.stack([part["calibration"] for part in parts if part is not None]).mean(0)
    torch.testing.assert_close(both["calibration"], expected, equal_nan=True)
    counts = [len(there.truth(places[0], part)) for part in ("train", "val")]
    known = torch.isfinite(expected)
    assert len(known) == sum(counts)
    assert not known[: counts[0]].any()  # one of the two was trained on them
    assert known[counts[0] :].sum() == counts[1] // 2


def test_between_architectures_what_knows_one_layout_takes_no_part(cache: Path) -> None:
    networks = ("digits_cnn", "mlp")
    out = cache / "architectures.json"
    found = cross_architecture("smoke", out, (0,), cache / "cross", networks=networks)
    metrics = {record.metric for record in found}
    assert {"tau digits_cnn to mlp", "tau mlp to digits_cnn"} <= metrics
    assert "tau: digits_cnn/digits to mlp/few digits" in metrics
    assert "tau: digits_cnn/digits to digits_cnn/digits" not in metrics
    settings = settings_of("cross_architecture", "smoke", CrossConfig, {"networks": networks})
    there = Crossing(settings, "smoke", cache / "cross")
    routes = {("digits_cnn", "digits"): [("mlp", "digits")]}
    assert measured(there, "layer statistics + boosting", 0, routes) == []


def test_an_unknown_method_is_named(cache: Path) -> None:
    with pytest.raises(ConfigError, match="no method 'SNF'"):
        cross_dataset("smoke", cache / "x.json", (0,), cache / "cross", methods="SNF")
