"""Predictions between zoos: every pair, cached predictions, equal rates, methods that refuse."""

from pathlib import Path

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.cross import ORACLE, CrossConfig, folder_of, measured, predictions
from weightatlas.evaluate.protocols.cross_architecture import cross_architecture
from weightatlas.evaluate.protocols.cross_dataset import cross_dataset
from weightatlas.evaluate.protocols.cross_zoos import Crossing
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.results import Record


@pytest.fixture(scope="module")
def records(cache: Path) -> list[Record]:
    return cross_dataset("smoke", cache / "cross.json", (0,), cache / "cross")


def test_a_bench_holds_every_pair_of_every_method(records: list[Record]) -> None:
    settings = settings_of("cross_dataset", "smoke", CrossConfig, {})
    assert {record.method for record in records} == set(settings.methods)
    pairs = {f"tau: {one} to {other}" for one in settings.tasks for other in settings.tasks}
    for method in settings.methods:
        found = {record.metric: record.value for record in records if record.method == method}
        assert pairs <= set(found)
        assert found["tau"] == pytest.approx(sum(found[pair] for pair in pairs) / len(pairs))
        assert {"tau above chance", "R2"} <= set(found)
        if method == ORACLE:
            continue
        assert found["tau low"] <= found["tau"] <= found["tau high"]
        assert found["MAE"] > 0
        assert 0 <= found["coverage in distribution"] <= 1
        assert ("tau over DeepSets" in found) == (method != "DeepSets")


def test_every_rate_is_trained_and_validation_networks_choose(records: list[Record], cache: Path) -> None:
    settings = settings_of("cross_dataset", "smoke", CrossConfig, {})
    there = Crossing(settings, "smoke", cache / "cross")
    place = ("digits_cnn", "digits")
    assert len(settings.rates) == 2
    assert all((folder_of(there, "DeepSets", place, 0, rate) / "encoder").exists() for rate in settings.rates)
    chosen = [
        r.value for r in records if (r.method, r.metric) == ("DeepSets", "learning rate: digits_cnn/digits")
    ]
    assert len(chosen) == 1
    assert chosen[0] in settings.rates


def test_nothing_is_measured_or_predicted_twice(records: list[Record], cache: Path) -> None:
    again = cross_dataset("smoke", cache / "cross.json", (0,), cache / "cross")
    assert len(again) == len(records)
    settings = settings_of("cross_dataset", "smoke", CrossConfig, {})
    there = Crossing(settings, "smoke", cache / "cross")
    places = [("digits_cnn", task) for task in settings.tasks]
    name = "ours, together"
    both = predictions(there, name, places[0], places, 0)
    parts = [predictions(there, part, places[0], places, 0) for part in settings.together[name]]
    expected = torch.stack([part["calibration"] for part in parts]).mean(0)
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
    (refused,) = measured(there, "layer statistics + boosting", 0, routes, "x")
    assert refused.metric == "refused"
    assert refused.note


def test_an_unknown_method_is_named(cache: Path) -> None:
    with pytest.raises(ConfigError, match="no method 'SNF'"):
        cross_dataset("smoke", cache / "x.json", (0,), cache / "cross", methods="SNF")
