"""Heads by name: what turns features into properties in closed form or by trees."""

from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import ConfigError
from weightatlas.predict.classify import Classes
from weightatlas.predict.committee import Committee, fit_committee
from weightatlas.predict.ridge import LAMBDAS, Ridge, fit_ridge
from weightatlas.predict.trees import Trees, fit_trees

NAMES = ("ridge", "boosting", "committee")
Heads = Ridge | Trees | Committee | Classes
Table = tuple[Float[Tensor, "networks features"], Float[Tensor, "networks targets"]]
"""Features and properties of some networks."""


def fit_head(
    name: str,
    train: Table,
    validation: Table | None = None,
    lambdas: tuple[float, ...] = LAMBDAS,
    seed: int = 0,
) -> Heads:
    """Fit a head.

    Args:
        name: "ridge", "boosting" or "committee".
        train: Features and properties of the training networks.
        validation: Those of the networks that choose; a committee chooses nothing.
        lambdas: Regularizations the ridge chooses from.
        seed: Seed of trees.

    Raises:
        ConfigError: There is no such head.
    """
    if name == "ridge":
        return fit_ridge(*train, validation=validation, lambdas=lambdas)
    if name == "boosting":
        return fit_trees(*train, validation=validation, seed=seed)
    if name == "committee":
        return fit_committee(*train, seed=seed)
    raise ConfigError(f"There is no head '{name}'.", todo="Known: ridge, boosting, committee.")
