"""The closed form equals scikit-learn's, for tall and wide tables, and chooses sensibly."""

import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from weightatlas.errors import DataError
from weightatlas.predict.ridge import fit_ridge


def problem(networks: int, features: int, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(networks)
    x = torch.randn(networks, features, generator=generator) * 3 + 5
    true = torch.randn(features, 2, generator=generator)
    return x, x @ true + noise * torch.randn(networks, 2, generator=generator)


@pytest.mark.parametrize(("networks", "features"), [(60, 7), (20, 45), (12, 12)])
@pytest.mark.parametrize("lam", [1e-3, 1.0, 300.0])
def test_equals_sklearn(networks: int, features: int, lam: float) -> None:
    x, y = problem(networks, features)
    standardized = (x.double() - x.double().mean(0)) / x.double().std(0, correction=0)
    theirs = SklearnRidge(alpha=lam).fit(standardized, y.double()).predict(standardized)
    ours = fit_ridge(x, y, lambdas=(1e5, lam, 1e-5))
    alone = fit_ridge(x, y, lambdas=(lam,))
    torch.testing.assert_close(alone.predict(x), torch.from_numpy(theirs), rtol=1e-8, atol=1e-8)
    assert ours.scores.shape == (3, 2)
    torch.testing.assert_close(ours.scores[1], alone.scores[0])


@pytest.mark.parametrize(("networks", "features"), [(30, 5), (15, 40)])
def test_leave_one_out_equals_leaving_one_out(networks: int, features: int) -> None:
    x, y = problem(networks, features)
    lam = 3.0
    fast = fit_ridge(x, y, lambdas=(lam,)).scores[0]
    standardized = (x.double() - x.double().mean(0)) / x.double().std(0, correction=0)
    slow = torch.empty(networks, 2, dtype=torch.float64)
    for row in range(networks):
        rest = torch.arange(networks) != row
        left = SklearnRidge(alpha=lam).fit(standardized[rest], y.double()[rest])
        slow[row] = torch.from_numpy(left.predict(standardized[row : row + 1]))[0]
    y = y.double()
    expected = 1 - (slow - y).square().sum(0) / (y - y.mean(0)).square().sum(0)
    torch.testing.assert_close(fast, expected, rtol=1e-6, atol=1e-8)


def test_validation_chooses_per_target() -> None:
    generator = torch.Generator().manual_seed(1)
    x, held = torch.randn(40, 30, generator=generator), torch.randn(400, 30, generator=generator)
    weight = torch.randn(30, generator=generator)
    noise = torch.randn(440, generator=generator) * 20
    y = torch.stack([x @ weight, x @ weight + noise[:40]], 1)
    true = torch.stack([held @ weight, held @ weight + noise[40:]], 1)
    fit = fit_ridge(x, y, validation=(held, true))
    assert fit.chosen[0] < 0.1
    assert fit.chosen[1] > 10
    assert fit.scores[:, 0].max() > 0.999


def test_constant_features_are_ignored() -> None:
    x, y = problem(30, 4)
    constant = torch.cat([x, torch.full((30, 1), 7.0)], 1)
    ours = fit_ridge(constant, y)
    torch.testing.assert_close(ours.predict(constant), fit_ridge(x, y).predict(x))
    moved = constant.clone()
    moved[:, 4] += 100
    torch.testing.assert_close(ours.predict(moved), ours.predict(constant))


def test_bad_tables_are_named() -> None:
    x, y = problem(10, 3)
    with pytest.raises(DataError, match="at least 2 networks"):
        fit_ridge(x[:1], y[:1])
    x[2, 1] = float("nan")
    with pytest.raises(DataError, match="1 of 10 networks have features"):
        fit_ridge(x, y)
    with pytest.raises(DataError, match="knows 3 features"):
        fit_ridge(*problem(10, 3)).predict(torch.zeros(2, 4))
