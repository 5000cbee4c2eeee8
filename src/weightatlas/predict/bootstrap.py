"""Bootstrap intervals of scores, and of differences between two predictions of the same networks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.runtime import numpy_generator_of

Score = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True, slots=True)
class Interval:
    """A score and where it lies when networks are drawn anew.

    Args:
        value: Score of the networks at hand.
        low: Lower end.
        high: Upper end.
        spread: Standard deviation over the draws.
    """

    value: float
    low: float
    high: float
    spread: float


def bootstrap(
    score: Score,
    predicted: Float[Tensor, " networks"],
    true: Float[Tensor, " networks"],
    rival: Float[Tensor, " networks"] | None = None,
    relatives: np.ndarray | None = None,
    level: float = 0.95,
    draws: int = 500,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a score over networks drawn with replacement.

    With a rival, of the difference `score(predicted) - score(rival)`, both on the same draws, which is far
    narrower than what two separate intervals would say.

    Example:
        >>> from weightatlas.predict.metrics import mae
        >>> found = bootstrap(mae, torch.arange(50.0), torch.arange(50.0) + 1)
        >>> found.low, found.value, found.high
        (1.0, 1.0, 1.0)

    Args:
        score: From predictions and true values to a number, such as `metrics.kendall`.
        predicted: Predictions, shape `(networks,)`.
        true: Measured values, shape `(networks,)`.
        rival: Other predictions of the same networks.
        relatives: Label per network; those that share one are drawn together, such as a lineage's.
        level: Share of the draws inside the interval.
        draws: How many.
        seed: Seed of the draws.

    Raises:
        DataError: The score is undefined on the networks, or on most draws.
    """
    value = _value(score, predicted, rival, true)
    generator = numpy_generator_of("bootstrap", seed)
    members = _members(len(true), relatives)
    found = []
    for _ in range(draws):
        chosen = generator.integers(len(members), size=len(members))
        rows = torch.from_numpy(np.concatenate([members[place] for place in chosen]))
        try:
            found.append(_value(score, predicted[rows], None if rival is None else rival[rows], true[rows]))
        except DataError:  # A draw of equal values orders nothing.
            continue
    if len(found) < draws / 2:
        raise DataError(
            f"The score is undefined on {draws - len(found)} of {draws} draws of {len(true)} networks.",
            todo="Score more networks, or a property that varies.",
        )
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), float(np.std(found)))


def _value(score: Score, predicted: Tensor, rival: Tensor | None, true: Tensor) -> float:
    own = score(predicted, true)
    return own if rival is None else own - score(rival, true)


def _members(count: int, relatives: np.ndarray | None) -> list[np.ndarray]:
    """Rows that are drawn together."""
    if relatives is None:
        return list(np.arange(count)[:, None])
    _, inverse = np.unique(relatives, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(inverse[order])) + 1)
