"""Bootstrap intervals: as wide as theory says, paired ones narrower, relatives drawn together."""

import numpy as np
import pytest
import torch

from weightatlas.errors import DataError
from weightatlas.predict.bootstrap import bootstrap
from weightatlas.predict.metrics import kendall, mae, r2


def test_the_spread_of_a_mean_is_known() -> None:
    true = torch.zeros(400)
    predicted = torch.rand(400, dtype=torch.float64)
    found = bootstrap(mae, predicted, true)
    assert found.spread == pytest.approx(float(predicted.std()) / 20, rel=0.15)
    assert found.value == pytest.approx(float(predicted.mean()))
    assert (found.high - found.low) / found.spread == pytest.approx(3.92, rel=0.1)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = []
    for seed in range(25):
        generator = torch.Generator().manual_seed(seed)
        true = torch.randn(80, generator=generator)
        predicted = true + torch.randn(80, generator=generator)
        found = bootstrap(kendall, predicted, true, level=0.8, draws=100, seed=seed)
        held.append(found.low <= 0.5 <= found.high)  # tau of correlation 1 / sqrt(2) is 2 / pi * asin(.)
    assert 0.6 <= np.mean(held) <= 0.98


def test_paired_differences_are_narrower_than_two_intervals() -> None:
    true = torch.randn(150)
    first = true + 0.5 * torch.randn(150)
    second = first + 0.05 * torch.randn(150)
    paired = bootstrap(r2, first, true, rival=second, draws=200)
    assert paired.value == pytest.approx(r2(first, true) - r2(second, true))
    assert paired.spread < 0.5 * bootstrap(r2, first, true, draws=200).spread
    same = bootstrap(r2, first, true, rival=first, draws=20)
    assert (same.low, same.high) == (0, 0)


def test_relatives_are_drawn_together() -> None:
    lineage = np.repeat(np.arange(20), 10)
    predicted = torch.randn(20).repeat_interleave(10)  # ten copies each
    alone = bootstrap(mae, predicted, torch.zeros(200))
    together = bootstrap(mae, predicted, torch.zeros(200), relatives=lineage)
    assert together.spread > 2 * alone.spread


def test_an_undefined_score_is_named() -> None:
    with pytest.raises(DataError, match="undefined on 5 of 9 draws"):
        bootstrap(kendall, torch.randn(2), torch.tensor([0.0, 1.0]), draws=9, seed=0)
