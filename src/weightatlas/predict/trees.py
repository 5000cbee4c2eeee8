"""Boosted trees as a head: the strong floor beside every linear probe."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError

ROUNDS = 300


@dataclass(frozen=True, slots=True)
class Trees:
    """Boosted regression trees, one forest per target.

    Trees are never written to disk: their training table, seed and rounds are, and loading fits them again.

    Args:
        features: Training features, shape `(networks, features)`.
        targets: Training targets, shape `(networks, targets)`.
        rounds: Boosting rounds per target.
        seed: Seed of the fit.
        forests: The fitted scikit-learn estimators.
    """

    features: Float[Tensor, "networks features"]
    targets: Float[Tensor, "networks targets"]
    rounds: tuple[int, ...]
    seed: int
    forests: tuple[Any, ...]

    def predict(self, features: Float[Tensor, "networks features"]) -> Float[Tensor, "networks targets"]:
        """Predict the targets of further networks, in float64."""
        if features.shape[1] != self.features.shape[1]:
            known = self.features.shape[1]
            raise DataError(f"The head knows {known} features, these networks have {features.shape[1]}.")
        table = features.double().cpu().numpy()
        return torch.from_numpy(np.stack([forest.predict(table) for forest in self.forests], axis=1))


def fit_trees(
    features: Float[Tensor, "networks features"],
    targets: Float[Tensor, "networks targets"],
    validation: tuple[Tensor, Tensor] | None = None,
    rounds: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Trees:
    """Fit boosted trees; the number of rounds is the best on the validation networks.

    Args:
        features: Features of the training networks, shape `(networks, features)`.
        targets: Their properties, shape `(networks, targets)`.
        validation: Features and targets of held-out networks; without them all rounds are used.
        rounds: Rounds per target, if already known.
        seed: Seed of the fit.
    """
    x, y = features.double().cpu(), targets.double().cpu()
    if len(x) < 2:
        raise DataError(f"Boosted trees need at least 2 networks, there are {len(x)}.")
    wanted = rounds or (ROUNDS,) * y.shape[1]
    forests = [_forest(x, y[:, target], wanted[target], seed) for target in range(y.shape[1])]
    if validation is not None and rounds is None:
        held, true = validation[0].double().cpu().numpy(), validation[1].double().cpu().numpy()
        wanted = tuple(_best_rounds(forest, held, true[:, t]) for t, forest in enumerate(forests))
        # Boosting is greedy: the first rounds of a longer fit are the shorter fit.
        forests = [_forest(x, y[:, target], wanted[target], seed) for target in range(y.shape[1])]
    return Trees(x, y, wanted, seed, tuple(forests))


def _forest(features: Tensor, target: Tensor, rounds: int, seed: int) -> Any:
    """Fit one target."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    leaf = max(1, min(20, len(features) // 10))  # scikit-learn's 20 leaves small zoos without a split
    options: dict[str, Any] = {"max_iter": rounds, "min_samples_leaf": leaf, "early_stopping": False}
    forest = HistGradientBoostingRegressor(random_state=seed, **options)
    return forest.fit(features.numpy(), target.numpy())


def _best_rounds(forest: Any, features: np.ndarray, target: np.ndarray) -> int:
    """Find the round after which held-out error is lowest."""
    errors = [float(np.square(stage - target).mean()) for stage in forest.staged_predict(features)]
    return int(np.argmin(errors)) + 1
