"""The best single feature is chosen on training networks and fitted monotonely."""

import pytest
import torch

from weightatlas.errors import DataError
from weightatlas.predict.metrics import kendall
from weightatlas.predict.single import fit_single


def test_it_finds_the_feature_that_orders_best() -> None:
    features = torch.randn(100, 5)
    target = (-features[:, 3]).exp()
    found = fit_single(features, target)
    assert (found.feature, found.sign) == (3, -1)
    fresh = torch.randn(50, 5)
    assert kendall(found.order(fresh), (-fresh[:, 3]).exp()) == pytest.approx(1)
    inside = found.predict(features)
    torch.testing.assert_close(inside, target.double(), atol=1e-5, rtol=1e-4)
    assert bool((found.predict(fresh) >= target.min() - 1e-6).all())


def test_constant_features_are_refused() -> None:
    with pytest.raises(DataError, match="all are constant"):
        fit_single(torch.ones(10, 2), torch.arange(10.0))
