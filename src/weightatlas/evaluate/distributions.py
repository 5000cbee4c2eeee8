"""Distributions of a number over networks: original, rebuilt, refined, generated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.results import Record

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Summary of one number over a set of networks.

    Args:
        count: Networks.
        mean: Their mean.
        std: Standard deviation over networks.
        quantiles: Values at `QUANTILES`.
    """

    count: int
    mean: float
    std: float
    quantiles: tuple[float, ...]

    @property
    def median(self) -> float:
        return self.quantiles[QUANTILES.index(0.5)]


def describe(values: Float[Tensor, " networks"]) -> Distribution:
    """Summarize a number over networks.

    Example:
        >>> describe(torch.tensor([0.2, 0.4, 0.6])).median
        0.4

    Raises:
        DataError: There are no networks, or values that are not finite.
    """
    if not len(values) or not bool(torch.isfinite(values).all()):
        raise DataError(f"A distribution needs finite values; got {len(values)}, some of them perhaps NaN.")
    known = values.double().cpu()
    levels = torch.tensor(QUANTILES, dtype=known.dtype)
    rounded = tuple(round(q, 6) for q in known.quantile(levels).tolist())
    return Distribution(len(known), float(known.mean()), float(known.std(correction=0)), rounded)


def shift(first: Float[Tensor, " networks"], second: Float[Tensor, " others"]) -> float:
    """Wasserstein-1 distance: how far values must move to turn one distribution into the other.

    Example:
        >>> round(shift(torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.4, 0.3, 0.4])), 6)
        0.2
    """
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(first.double().cpu().numpy(), second.double().cpu().numpy()))


def records_of(
    sets: Mapping[str, Float[Tensor, " _"]], quantity: str = "accuracy", **context: Any
) -> list[Record]:
    """Write mean and quantiles of each named set as records.

    Args:
        sets: Name ("original", "rebuilt", ...) -> values.
        quantity: What the values are.
        context: Other fields of `Record`: bench, tier, zoo, seeds, ...
    """
    rows = []
    for name, values in sets.items():
        found = describe(values)
        numbers = {f"{quantity} mean": found.mean}
        numbers |= {
            f"{quantity} q{round(100 * q)}": v for q, v in zip(QUANTILES, found.quantiles, strict=True)
        }
        about = {"method": name, "n": found.count, **context}
        rows += [Record.build({**about, "metric": m, "value": v}) for m, v in numbers.items()]
    return rows
