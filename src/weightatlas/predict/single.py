"""The floor below all floors: the one feature that orders the training networks best."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.predict.metrics import kendall


@dataclass(frozen=True, slots=True)
class Single:
    """One feature and what it says.

    Args:
        feature: Its number.
        sign: 1 if larger is more, else -1.
        curve: Monotone fit to the training networks.
    """

    feature: int
    sign: float
    curve: Any

    def order(self, features: Float[Tensor, "networks features"]) -> Float[Tensor, " networks"]:
        """Order networks: the signed feature itself."""
        return self.sign * features[:, self.feature].double()

    def predict(self, features: Float[Tensor, "networks features"]) -> Float[Tensor, " networks"]:
        """Predict the property by the monotone fit, in float64."""
        return torch.from_numpy(self.curve.predict(self.order(features).cpu().numpy())).double()


def fit_single(features: Float[Tensor, "networks features"], target: Float[Tensor, " networks"]) -> Single:
    """Choose the feature with the largest absolute tau on the training networks.

    Example:
        >>> x = torch.stack([torch.randn(40), -torch.arange(40.0)], dim=1)
        >>> found = fit_single(x, torch.arange(40.0))
        >>> found.feature, found.sign
        (1, -1.0)

    Args:
        features: Features of the training networks, shape `(networks, features)`.
        target: Their property, shape `(networks,)`.

    Raises:
        DataError: No feature varies.
    """
    from sklearn.isotonic import IsotonicRegression

    taus = torch.tensor([kendall(column, target) for column in features.double().T])
    if not bool(taus.abs().max() > 0):
        raise DataError("No feature orders the training networks: all are constant.")
    best = int(taus.abs().argmax())
    sign = 1.0 if taus[best] > 0 else -1.0
    curve = IsotonicRegression(out_of_bounds="clip")
    curve.fit((sign * features[:, best].double()).cpu().numpy(), target.double().cpu().numpy())
    return Single(best, sign, curve)
