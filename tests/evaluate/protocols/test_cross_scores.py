"""Scores between zoos: means of pairs and rows, and intervals on the same draws."""

import pytest
import torch

from weightatlas.evaluate.protocols.cross_scores import Pair, intervals, summarized

SCORES = {"coverage": 0.5, "width": 0.2}
A, B = ("cnn", "mnist"), ("cnn", "letters")


def pair(noise: float, rival: float | None = None, count: int = 60) -> Pair:
    generator = torch.Generator().manual_seed(0)
    true = torch.linspace(0.05, 0.95, count, dtype=torch.float64)
    drawn = torch.randn(2, count, generator=generator, dtype=torch.float64)
    other = None if rival is None else true + rival * drawn[1]
    reach = torch.full((count,), 10.0, dtype=torch.float64)
    return Pair(true + noise * drawn[0], true, true, 10, reach, other)


def test_rows_and_distributions_are_means_of_pairs() -> None:
    taus = {(A, A): 0.8, (A, B): 0.4, (B, A): 0.2, (B, B): 0.6}
    found = summarized({pair: {"tau": tau, **SCORES} for pair, tau in taus.items()})
    assert found["tau"] == pytest.approx(0.5)
    assert found["tau from mnist"] == pytest.approx(0.6)
    assert found["tau in distribution"] == pytest.approx(0.7)
    assert found["tau across"] == pytest.approx(0.3)
    assert found["tau: letters to mnist"] == pytest.approx(0.2)
    other = ("mlp", "mnist")
    found = summarized({(A, other): {"tau": 0.3, **SCORES}, (B, other): {"tau": 0.5, **SCORES}})
    assert found["tau cnn to mlp"] == pytest.approx(0.4)
    assert "tau in distribution" not in found


def test_a_pair_is_scored_in_every_way() -> None:
    found = pair(0.02).numbers("test_acc", draws=20)
    assert found["tau"] > 0.8
    assert found["R2"] > 0.9
    assert found["MAE"] < 0.05
    assert found["coverage"] == 1
    assert found["tau low"] <= found["tau"] <= found["tau high"]
    summary = summarized({(A, A): found})
    assert {"R2", "MAE", "tau above chance", "MAE: mnist to mnist"} <= set(summary)


def test_a_constant_prediction_orders_nobody() -> None:
    flat = pair(0.0)
    same = Pair(torch.zeros_like(flat.true), flat.true, flat.accuracy, 10)
    assert same.numbers("test_acc", draws=20)["tau"] == 0


def test_differences_are_taken_on_the_same_draws() -> None:
    better = intervals({(A, A): pair(0.05, 0.5), (A, B): pair(0.05, 0.5)}, "SNE", draws=50)
    assert better["tau low"] < better["tau high"]
    assert 0 < better["tau over SNE low"] < better["tau over SNE"] < better["tau over SNE high"]
    own = pair(0.3)
    equal = Pair(own.predicted, own.true, own.accuracy, 10, rival=own.predicted)
    found = intervals({(A, A): equal}, "SNE", draws=20)
    assert found["tau over SNE low"] == found["tau over SNE high"] == 0
    assert "tau over SNE" not in intervals({(A, A): own}, "SNE", draws=20)
