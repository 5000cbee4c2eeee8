"""Three heads that err differently, averaged: slow boosting, random trees, and kernel regression on ranks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError

ROUNDS = 300
TREES = 300
WIDTH = 0.3  # of the kernel, in units of the number of features


@dataclass(frozen=True, slots=True)
class Committee:
    """A fitted committee.

    Only its training table and its seed are written to disk; loading fits it again.

    Args:
        features: Training features, shape `(networks, features)`.
        targets: Training targets, shape `(networks, targets)`.
        seed: Seed of the fit.
        members: Per target, the fitted scikit-learn estimators.
    """

    features: Float[Tensor, "networks features"]
    targets: Float[Tensor, "networks targets"]
    seed: int
    members: tuple[tuple[Any, ...], ...]

    def predict(self, features: Float[Tensor, "networks features"]) -> Float[Tensor, "networks targets"]:
        """Average the members' predictions for further networks, in float64."""
        if features.shape[1] != self.features.shape[1]:
            known = self.features.shape[1]
            raise DataError(f"The head knows {known} features, these networks have {features.shape[1]}.")
        table = features.double().cpu().numpy()
        columns = [np.mean([member.predict(table) for member in each], axis=0) for each in self.members]
        return torch.from_numpy(np.stack(columns, axis=1))


def fit_committee(
    features: Float[Tensor, "networks features"],
    targets: Float[Tensor, "networks targets"],
    seed: int = 0,
) -> Committee:
    """Fit a committee; it has nothing to choose on validation networks.

    Many features of few networks are read best by heads that err differently: boosted trees in small
    steps on a part of the features each, extremely randomized trees, and support vector regression on
    features brought to normal scores, whose answers stay bounded far from the training networks.

    Example:
        >>> x = torch.linspace(-1, 1, 80)[:, None]
        >>> fitted = fit_committee(x, x**2)
        >>> bool((fitted.predict(x) - x**2).abs().max() < 0.2)
        True

    Args:
        features: Features of the training networks, shape `(networks, features)`.
        targets: Their properties, shape `(networks, targets)`.
        seed: Seed of the fit.

    Raises:
        DataError: There are too few networks.
    """
    x, y = features.double().cpu(), targets.double().cpu()
    if len(x) < 2:
        raise DataError(f"A committee needs at least 2 networks, there are {len(x)}.")
    members = tuple(_members(x.numpy(), y[:, target].numpy(), seed) for target in range(y.shape[1]))
    return Committee(x, y, seed, members)


def _members(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[Any, ...]:
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, StandardScaler
    from sklearn.svm import SVR

    boosting: dict[str, Any] = {
        "max_iter": ROUNDS,
        "learning_rate": 0.03,
        "max_leaf_nodes": 12,
        "max_features": 0.3,
        "min_samples_leaf": max(1, min(10, len(x) // 10)),
        "l2_regularization": 1.0,
        "early_stopping": False,
    }
    forest: dict[str, Any] = {"n_estimators": TREES, "min_samples_leaf": 2, "max_features": 0.3}
    ranks = QuantileTransformer(n_quantiles=min(200, len(x)), output_distribution="normal")
    kernel = make_pipeline(ranks, SVR(C=2.0, epsilon=0.04, gamma=WIDTH / x.shape[1]))
    made = (
        HistGradientBoostingRegressor(random_state=seed, **boosting),
        ExtraTreesRegressor(random_state=seed, **forest),
        TransformedTargetRegressor(kernel, transformer=StandardScaler()),
    )
    return tuple(member.fit(x, y) for member in made)
