"""Split-conformal intervals: how far a prediction may be off, with a guarantee."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError


def radius(residuals: Float[Tensor, "networks targets"], level: float = 0.9) -> Float[Tensor, " targets"]:
    """Half-width of intervals that hold the true value of a new network with probability `level`.

    Split-conformal prediction with absolute residuals: the ceil((n + 1) * level)-th smallest
    residual of n networks that were not fitted on. Holds for exchangeable networks, whatever the
    predictor (Lei et al., Distribution-Free Predictive Inference for Regression, 2018).

    Example:
        >>> radius(torch.arange(1.0, 20.0)[:, None], level=0.9)
        tensor([18.], dtype=torch.float64)

    Args:
        residuals: Prediction errors on held-out networks, shape `(networks, targets)`.
        level: Wanted coverage, between 0 and 1.

    Returns:
        One half-width per target, shape `(targets,)`.

    Raises:
        DataError: Too few networks for this level, or residuals that are not finite.
    """
    if not 0 < level < 1:
        raise DataError(f"The level of an interval lies between 0 and 1, not at {level:g}.")
    count = len(residuals)
    rank = math.ceil((count + 1) * level - 1e-9)
    if rank > count:
        least = math.ceil(level / (1 - level) - 1e-9)
        raise DataError(
            f"Intervals of level {level:g} need at least {least} held-out networks, there are {count}.",
            todo="Ask for a lower level or hold out more networks.",
        )
    sizes = residuals.detach().double().abs()
    if not bool(torch.isfinite(sizes).all()):
        raise DataError("Some residuals are NaN or infinite; no interval can be built from them.")
    return sizes.sort(0).values[rank - 1]
