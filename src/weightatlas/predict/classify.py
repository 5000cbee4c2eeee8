"""Heads for properties that are classes: scikit-learn's classifiers under the names of the other heads."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import ConfigError, DataError
from weightatlas.predict.committee import ROUNDS, TREES

STRENGTHS = tuple(10.0**power for power in (1, 0, -1, -2, -3))
"""Inverse regularizations that logistic regression chooses from."""


@dataclass(frozen=True, slots=True)
class Classes:
    """Fitted classifiers, one or a committee per property.

    Only their training table, seed and choices are written to disk; loading fits them again.

    Args:
        features: Training features, shape `(networks, features)`.
        targets: Numbers of classes, shape `(networks, targets)`.
        head: "ridge", "boosting" or "committee".
        chosen: Per property, the strength or the rounds that were chosen; 0 where nothing is.
        seed: Seed of the fit.
        members: Per property, the fitted estimators, whose probabilities are averaged.
    """

    features: Float[Tensor, "networks features"]
    targets: Float[Tensor, "networks targets"]
    head: str
    chosen: tuple[float, ...]
    seed: int
    members: tuple[tuple[Any, ...], ...]

    def predict(self, features: Float[Tensor, "networks features"]) -> Float[Tensor, "networks targets"]:
        """Name the likeliest class of further networks by its number, in float64."""
        if features.shape[1] != self.features.shape[1]:
            known = self.features.shape[1]
            raise DataError(f"The head knows {known} features, these networks have {features.shape[1]}.")
        table = features.double().cpu().numpy()
        columns = []
        for each in self.members:
            share = np.mean([member.predict_proba(table) for member in each], axis=0)
            columns.append(each[0].classes_[share.argmax(1)])
        return torch.from_numpy(np.stack(columns, axis=1)).double()


def fit_classes(
    head: str,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
    chosen: tuple[float, ...] | None = None,
) -> Classes:
    """Fit classifiers: logistic regression ("ridge"), boosted trees, or a committee of three.

    The strength of the regularization and the rounds of boosting are those with the best accuracy on the
    validation networks, the stronger and fewer among equals; a committee chooses nothing.

    Example:
        >>> x = torch.linspace(-1, 1, 40)[:, None]
        >>> fit_classes("ridge", (x, (x > 0).double())).predict(torch.tensor([[-0.5], [0.5]])).flatten()
        tensor([0., 1.], dtype=torch.float64)

    Args:
        head: "ridge", "boosting" or "committee".
        train: Features and numbers of classes of the training networks.
        validation: Those of the networks that choose.
        seed: Seed of the fit.
        chosen: What was chosen before, per property.

    Raises:
        DataError: All training networks are of one class.
        ConfigError: There is no such head.
    """
    x, y = train[0].double().cpu(), train[1].double().cpu()
    held = None if validation is None else validation[0].double().cpu().numpy()
    members, found = [], []
    for target in range(y.shape[1]):
        own = y[:, target].numpy().astype(np.int64)
        if len(np.unique(own)) < 2:
            raise DataError(
                f"All {len(own)} training networks are of one class; there is nothing to tell apart.",
                todo="Predict a property that varies.",
            )
        if chosen is not None:
            choice = chosen[target]
        elif held is None:
            choice = _usual(head)
        else:
            true = validation[1][:, target].cpu().numpy()  # type: ignore[index]
            choice = _choice(head, x.numpy(), own, held, true, seed)
        members.append(tuple(_fitted(one, x.numpy(), own) for one in _members(head, x.shape, choice, seed)))
        found.append(choice)
    return Classes(x, y, head, tuple(found), seed, tuple(members))


def _usual(head: str) -> float:
    """What is taken where no network chooses."""
    return {"ridge": 0.1, "boosting": 100.0, "committee": 0.0}.get(head, 0.0)


def _choice(head: str, x: np.ndarray, y: np.ndarray, held: np.ndarray, true: np.ndarray, seed: int) -> float:
    """The strength or the rounds with the best accuracy on held-out networks."""
    if head == "committee":
        return 0.0
    if head == "boosting":
        (booster,) = _members(head, x.shape, float(ROUNDS), seed)
        stages = _fitted(booster, x, y).staged_predict(held)
        return 1.0 + float(np.argmax([float((stage == true).mean()) for stage in stages]))
    right = {}
    for strength in reversed(STRENGTHS):
        (line,) = _members(head, x.shape, strength, seed)
        right[strength] = float((_fitted(line, x, y).predict(held) == true).mean())
    return max(right, key=lambda strength: right[strength])


def _fitted(estimator: Any, x: np.ndarray, y: np.ndarray) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Weak regularizations need many steps; held-out networks choose among what is reached.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(x, y)


def _members(head: str, shape: Any, choice: float, seed: int) -> tuple[Any, ...]:
    """Make the estimators of a head."""
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, StandardScaler

    count = int(shape[0])
    if head == "ridge":
        return (make_pipeline(StandardScaler(), LogisticRegression(C=choice, max_iter=300)),)
    common: dict[str, Any] = {"early_stopping": False, "random_state": seed}
    if head == "boosting":
        leaf = max(1, min(20, count // 10))
        return (HistGradientBoostingClassifier(max_iter=int(choice), min_samples_leaf=leaf, **common),)
    if head != "committee":
        raise ConfigError(f"There is no head '{head}'.", todo="Known: ridge, boosting, committee.")
    boosting: dict[str, Any] = {
        "max_iter": ROUNDS,
        "learning_rate": 0.03,
        "max_leaf_nodes": 12,
        "max_features": 0.3,
        "min_samples_leaf": max(1, min(10, count // 10)),
        "l2_regularization": 1.0,
    }
    forest: dict[str, Any] = {"n_estimators": TREES, "min_samples_leaf": 2, "max_features": 0.3}
    ranks = QuantileTransformer(n_quantiles=min(200, count), output_distribution="normal", random_state=seed)
    return (
        HistGradientBoostingClassifier(**boosting, **common),
        ExtraTreesClassifier(random_state=seed, **forest),
        make_pipeline(ranks, LogisticRegression(C=0.01, max_iter=300)),
    )
