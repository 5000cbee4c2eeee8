"""Summaries equal their definitions."""

import pytest
import torch

from weightatlas.errors import DataError
from weightatlas.evaluate.distributions import describe, records_of, shift


def test_quantiles() -> None:
    found = describe(torch.arange(101) / 100)
    assert found.quantiles == pytest.approx((0, 0.05, 0.25, 0.5, 0.75, 0.95, 1))
    assert found.mean == pytest.approx(0.5)
    assert found.count == 101
    assert describe(torch.tensor([0.3])).std == 0


def test_shift_sees_direction_free_distance() -> None:
    values = torch.rand(50)
    assert shift(values, values[torch.randperm(50)]) == pytest.approx(0, abs=1e-7)
    assert shift(values, values + 0.1) == pytest.approx(0.1, abs=1e-6)


def test_records_name_the_set_and_the_quantile() -> None:
    sets = {"original": torch.rand(10), "rebuilt": torch.rand(4)}
    rows = records_of(sets, bench="rebuild", tier="smoke", zoo="digits")
    assert {(row.method, row.n) for row in rows} == {("original", 10), ("rebuilt", 4)}
    assert "accuracy q50" in {row.metric for row in rows}


def test_empty_sets_are_named() -> None:
    with pytest.raises(DataError, match="needs finite values"):
        describe(torch.zeros(0))
    with pytest.raises(DataError, match="needs finite values"):
        describe(torch.tensor([0.1, float("nan")]))
