"""Scores equal their definitions, and refuse properties that do not vary."""

import pytest
import torch
from scipy.stats import kendalltau
from sklearn.metrics import r2_score

from weightatlas.errors import DataError
from weightatlas.predict.metrics import kendall, mae, r2


def test_equal_to_the_libraries() -> None:
    true, predicted = torch.randn(50), torch.randn(50)
    true[::7] = 0.5  # ties
    assert r2(predicted, true) == pytest.approx(r2_score(true, predicted))
    assert kendall(predicted, true) == pytest.approx(kendalltau(predicted, true).statistic)
    assert mae(predicted, true) == pytest.approx(float((predicted - true).abs().mean()))


@pytest.mark.parametrize("count", [3, 40, 600])
def test_tau_equals_scipy_on_ties(count: int) -> None:
    for levels in (2, 5, 1000):
        true, predicted = torch.randint(levels, (2, count)).double()
        true[0], true[1] = -1, -2
        expected = 0.0 if bool((predicted == predicted[0]).all()) else kendalltau(predicted, true).statistic
        assert kendall(predicted, true) == pytest.approx(expected, abs=1e-12)


def test_perfect_reversed_and_useless() -> None:
    true = torch.arange(10.0)
    assert r2(true, true) == 1
    assert kendall(true, true) == pytest.approx(1)
    assert kendall(-true, true) == pytest.approx(-1)
    assert r2(torch.full((10,), 4.5), true) == 0
    assert kendall(torch.full((10,), 4.5), true) == 0


@pytest.mark.parametrize("score", [r2, kendall])
def test_constant_property_is_named(score: object) -> None:
    with pytest.raises(DataError, match=r"Test_acc is 0\.1 for all 4 networks"):
        score(torch.rand(4), torch.full((4,), 0.1), "test_acc")  # type: ignore[operator]


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="1 values of gap"):
        r2(torch.rand(3), torch.tensor([0.0, float("nan"), 1.0]), "gap")
    with pytest.raises(DataError, match="2 predictions for 3"):
        mae(torch.rand(2), torch.rand(3))
