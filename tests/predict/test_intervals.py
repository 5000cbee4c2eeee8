"""Conformal intervals cover what they promise, and less would not."""

import pytest
import torch

from weightatlas.errors import DataError
from weightatlas.predict.intervals import radius


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
