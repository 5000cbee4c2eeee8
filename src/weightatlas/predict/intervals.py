"""Conformal intervals: how far a prediction may be off, with a guarantee."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightatlas.errors import DataError


def radius(residuals: Float[Tensor, "networks targets"], level: float = 0.9) -> Float[Tensor, " targets"]:
    """Half-width of intervals that hold the true value of a new network with probability `level`.

    Absolute residuals of n networks that were not fitted on: the ceil((n + 1) * level)-th smallest. Holds for
    exchangeable networks, whatever the predictor, if all residuals are of the predictor itself (Lei et al.,
    Distribution-Free Predictive Inference for Regression, 2018), and nearly so out of fold, if leaving a fold
    out changes predictions little (cross-validation in Barber et al., Predictive Inference with the
    Jackknife+, 2021).

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
    rank = rank_of(len(residuals), level)
    sizes = residuals.detach().double().abs()
    if not bool(torch.isfinite(sizes).all()):
        raise DataError("Some residuals are NaN or infinite; no interval can be built from them.")
    return sizes.sort(0).values[rank - 1]


def rank_of(count: int, level: float) -> int:
    """Which of `count` sorted residuals bounds that of a new network with probability `level`, from 1.

    Example:
        >>> rank_of(19, 0.9)
        18

    Raises:
        DataError: There are too few.
    """
    if not 0 < level < 1:
        raise DataError(f"The level of an interval lies between 0 and 1, not at {level:g}.")
    rank = math.ceil((count + 1) * level - 1e-9)
    if rank > count:
        least = math.ceil(level / (1 - level) - 1e-9)
        raise DataError(
            f"Intervals of level {level:g} need at least {least} held-out networks, there are {count}.",
            todo="Ask for a lower level or hold out more networks.",
        )
    return rank


def cross_bounds(
    predicted: Float[Tensor, "folds networks"],
    residuals: Float[Tensor, " known"],
    fold: Int[Tensor, " known"],
    level: float = 0.9,
) -> tuple[Float[Tensor, " networks"], Float[Tensor, " networks"]]:
    """Bounds of CV+: every known network's error around what its own fold's predictor says.

    The true value lies inside with probability at least 2 * level - 1, whatever the predictor, and in
    practice with about `level` (Barber et al., Predictive Inference with the Jackknife+, 2021, section 3).

    Args:
        predicted: What the predictor of each fold says of new networks.
        residuals: Out-of-fold errors.
        fold: Fold of each.
        level: Wanted coverage.

    Returns:
        Lower and upper ends.
    """
    rank = rank_of(len(residuals), level)
    center, size = predicted.double()[fold], residuals.detach().double().abs()[:, None]
    low = (center - size).sort(0).values[len(residuals) - rank]
    return low, (center + size).sort(0).values[rank - 1]


def usual_size(
    residuals: Float[Tensor, " known"],
    predicted: Float[Tensor, " known"],
    at: Float[Tensor, " networks"],
    neighbors: int = 25,
    strangers: Bool[Tensor, "networks known"] | None = None,
) -> Float[Tensor, " networks"]:
    """Mean absolute error of known networks with similar predictions: what residuals may be divided by.

    Half of it is the mean over all, so that a few small errors promise nothing.

    Args:
        residuals: Errors on known networks.
        predicted: Predictions for them.
        at: Predictions for the networks asked for.
        neighbors: Known networks with the nearest predictions.
        strangers: Which known networks count for whom; all by default.
    """
    far = (at.double()[:, None] - predicted.double()).abs()
    most = len(residuals)
    if strangers is not None:
        far, most = far.masked_fill(~strangers, torch.inf), max(1, int(strangers.sum(1).min()))
    nearest = far.topk(min(neighbors, most), dim=1, largest=False).indices
    sizes = residuals.detach().double().abs()
    return (0.5 * sizes[nearest].mean(1) + 0.5 * sizes.mean()).clamp_min(1e-12)
