"""Conformal intervals cover what they promise, and less would not."""

import pytest
import torch

from weightatlas.errors import DataError
from weightatlas.predict.intervals import cross_bounds, radius, usual_size


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_coverage(level: float) -> None:
    """Over many calibration sets, skewed errors are covered at the level, not far above it."""
    generator = torch.Generator().manual_seed(3)
    errors = torch.randn(60, 4000, generator=generator).exp() - 1
    reach = radius(errors[:59], level)
    covered = (errors[59].abs() <= reach).double().mean()
    assert level - 0.02 < covered < level + 1 / 60 + 0.02
    narrow = (errors[59].abs() <= 0.5 * reach).double().mean()
    assert narrow < level - 0.02


def test_too_few_networks_are_named() -> None:
    assert radius(torch.ones(9, 1), 0.9) == 1
    with pytest.raises(DataError, match="at least 9 held-out networks, there are 8"):
        radius(torch.ones(8, 1), 0.9)
    with pytest.raises(DataError, match="between 0 and 1"):
        radius(torch.ones(8, 1), 90)


def test_bounds_of_folds_are_those_of_one_predictor_if_all_agree() -> None:
    residuals = torch.linspace(-1, 1, 39)
    fold = torch.arange(39) % 3
    reach = radius(residuals[:, None], 0.9)
    low, high = cross_bounds(torch.full((3, 2), 5.0), residuals, fold, 0.9)
    torch.testing.assert_close(high, (5 + reach).expand(2))
    torch.testing.assert_close(low, (5 - reach).expand(2))
    wide = cross_bounds(torch.tensor([[4.0], [5.0], [6.0]]), residuals, fold, 0.9)
    assert float(wide[1] - wide[0]) > float(high[0] - low[0])


def test_usual_sizes_follow_errors_at_similar_predictions() -> None:
    predicted = torch.linspace(0, 1, 100)
    errors = predicted * torch.tensor([-1.0, 1.0]).repeat(50)
    sizes = usual_size(errors, predicted, torch.tensor([0.1, 0.9]), neighbors=10)
    torch.testing.assert_close(sizes, torch.tensor([0.3, 0.7]).double(), atol=0.02, rtol=0)
    alone = torch.zeros(1, 100, dtype=torch.bool)
    alone[0, 99] = True
    only = usual_size(errors, predicted, torch.tensor([0.1]), neighbors=1, strangers=alone)
    torch.testing.assert_close(only, torch.tensor([0.75]).double(), atol=0.01, rtol=0)
