"""Scores of predictions as records: right numbers, intervals, undefined ones left out."""

import pytest
import torch

from weightatlas.evaluate.protocols.scores import ceiling_records, scored
from weightatlas.predict.metrics import kendall
from weightatlas.results import Record

ABOUT = {"bench": "b", "tier": "smoke", "zoo": "z", "method": "m", "kind": "ours"}


def value(records: list[Record], metric: str) -> float:
    (found,) = [r for r in records if r.metric == metric]
    return found.value


def labels(count: int = 60) -> dict[str, torch.Tensor]:
    accuracy = torch.linspace(0.1, 0.9, count)
    return {"test_acc": accuracy, "train_acc": accuracy + 0.02 * torch.rand(count), "x": accuracy.square()}


def test_all_scores_and_their_intervals() -> None:
    known = labels()
    predicted = torch.stack([known["test_acc"] + 0.1 * torch.randn(60), known["x"]], dim=1).double()
    rival = predicted + torch.randn(60, 2)
    records = scored(predicted, known, ("test_acc", "x"), 10, ABOUT, 50, rival)
    assert value(records, "tau x") == pytest.approx(1)
    assert value(records, "MAE x") == pytest.approx(0)
    tau = value(records, "tau test accuracy")
    assert value(records, "tau low test accuracy") < tau < value(records, "tau high test accuracy")
    good = known["test_acc"] > 0.15
    expected = kendall(predicted[good, 0], known["test_acc"][good])
    assert value(records, "tau above chance test accuracy") == pytest.approx(expected)
    assert value(records, "tau over boosting low test accuracy") > 0


def test_undefined_scores_are_left_out() -> None:
    known = {"test_acc": torch.tensor([0.1, 0.1, 0.12]), "train_acc": torch.tensor([0.1, 0.2, 0.1])}
    records = scored(torch.rand(3, 1), known, ("test_acc",), 10, ABOUT, 20)
    assert {r.metric for r in records} >= {"MAE test accuracy"}
    assert "tau above chance test accuracy" not in {r.metric for r in records}


def test_the_ceiling_is_below_one_and_falls_with_fewer_images() -> None:
    many = ceiling_records(
        labels(), ("test_acc", "generalization_gap", "x"), {"train": 9000, "test": 9000}, 10, ABOUT
    )
    few = ceiling_records(labels(), ("test_acc", "generalization_gap"), {"train": 90, "test": 90}, 10, ABOUT)
    assert {r.metric.split(" ", 1)[1] for r in few} >= {"test accuracy", "generalization gap"}
    assert value(few, "tau test accuracy") < value(many, "tau test accuracy") < 1
    assert value(few, "tau generalization gap") < value(few, "tau test accuracy")
