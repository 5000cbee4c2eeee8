"""Codes in few bits: more for numbers that vary much, none for those that hardly vary."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import ConfigError, DataError

MOST = 12  # bits of one number
_WIDTHS = (1.2, 1.7, 2.2, 2.7, 3.2, 3.8, 4.6, 5.6, 7.0)  # clipping points tried, in standard deviations


@runtime_checkable
class Coarsening(Protocol):
    """What the numbers of a code lose as it is fitted, part by part."""

    def apply(
        self, codes: Float[Tensor, "networks numbers"], place: slice = slice(None)
    ) -> Float[Tensor, "networks numbers"]:
        """Coarsen codes, or the numbers at `place` of codes."""
        ...


@dataclass(frozen=True, slots=True)
class Rounding:
    """How each number of a code is stored: `2 ** bits` even levels around its center.

    Args:
        center: Mean of each number over training networks; all that is left of it at 0 bits.
        step: Distance of neighboring levels.
        bits: Bits of each number, 0 to 12.
        floor: Nothing is rounded below it, so that variances stay positive; minus infinity elsewhere.
    """

    center: Float[Tensor, " numbers"]
    step: Float[Tensor, " numbers"]
    bits: Int[Tensor, " numbers"]
    floor: Float[Tensor, " numbers"]

    @property
    def size(self) -> float:
        """Bits of one network."""
        return float(self.bits.sum())

    @property
    def fixed(self) -> float:
        """Bits of the tables, stored once for all networks."""
        return float((32 + 32 + 32 + 4) * len(self.bits))

    def apply(
        self, codes: Float[Tensor, "networks numbers"], place: slice = slice(None)
    ) -> Float[Tensor, "networks numbers"]:
        """Round codes, or the numbers at `place` of codes."""
        center, step, bits = self.center[place], self.step[place], self.bits[place]
        rounded = center + _levels((codes - center) / step, bits) * step
        return torch.maximum(rounded, self.floor[place])


def fit_rounding(
    codes: Float[Tensor, "networks numbers"], units: Float[Tensor, " numbers"], mean_bits: float
) -> Rounding:
    """Share bits among the numbers of a code where they save most error on training codes.

    This is reverse water-filling with measured errors: each number gets the bits that minimize
    `squared error / unit ** 2 + price * bits`, and the price is found by bisection.

    Example:
        >>> codes = torch.randn(256, 3, generator=torch.Generator().manual_seed(0))
        >>> fit_rounding(codes * torch.tensor([8.0, 1.0, 0.01]), torch.ones(3), mean_bits=3.0).bits.tolist()
        [6, 3, 0]

    Args:
        codes: Codes of training networks.
        units: Errors of a number count in this unit.
        mean_bits: Bits to spend, divided by the length of a code.

    Returns:
        A rounding of at most `mean_bits` bits per number on average.

    Raises:
        ConfigError: The bits are not between 0 and 12.
        DataError: There are fewer than two networks.
    """
    if not 0 < mean_bits <= MOST:
        raise ConfigError(f"Numbers take up to {MOST} bits on average, not {mean_bits:g}.")
    if len(codes) < 2:
        raise DataError(f"Rounding is fitted on at least 2 training networks; there are {len(codes)}.")
    center, scale = codes.mean(0), codes.std(0).clamp_min(1e-12)
    steps, errors = _choices((codes - center) / scale)
    bits = _spend(errors * (scale / units).square(), int(mean_bits * codes.shape[1]))
    least = codes.amin(0)
    floor = torch.where(least > 0, least, -torch.inf)
    return Rounding(center, steps.gather(0, bits[None])[0] * scale, bits, floor)


def _choices(
    unit: Float[Tensor, "networks numbers"],
) -> tuple[Float[Tensor, "bits numbers"], Float[Tensor, "bits numbers"]]:
    """Find the best step for each number of bits, and the squared error it leaves."""
    steps, errors = [torch.ones_like(unit[0])], [unit.square().mean(0)]
    for bits in range(1, MOST + 1):
        tried = torch.tensor(_WIDTHS, device=unit.device) * 2 / 2**bits
        many = torch.full((unit.shape[1],), bits, device=unit.device)
        left = torch.stack([(_levels(unit / s, many) * s - unit).square().mean(0) for s in tried])
        least, index = left.min(0)
        steps.append(tried[index])
        errors.append(least)
    return torch.stack(steps), torch.stack(errors)


def _spend(errors: Float[Tensor, "bits numbers"], budget: int) -> Int[Tensor, " numbers"]:
    """Return the bits of each number at the lowest price that the budget can pay."""
    count = torch.arange(len(errors), device=errors.device)[:, None]
    low, high = -60.0, float(errors.max().clamp_min(1e-30).log2()) + 1
    for _ in range(50):
        middle = (low + high) / 2
        spent = int((errors + 2.0**middle * count).argmin(0).sum())
        low, high = (low, middle) if spent <= budget else (middle, high)
    return (errors + 2.0**high * count).argmin(0)


def _levels(unit: Float[Tensor, "networks numbers"], bits: Int[Tensor, " numbers"]) -> Tensor:
    """Round to the middles of `2 ** bits` intervals of length 1 around zero; 0 bits leave zero."""
    half = torch.pow(2.0, bits - 1)
    rounded = torch.minimum(torch.maximum(unit.floor(), -half), half - 1) + 0.5
    return torch.where(bits > 0, rounded, 0.0)


def rounded(
    codes: Float[Tensor, "networks numbers"], place: slice, rounding: Coarsening | None
) -> Float[Tensor, "networks numbers"]:
    """Coarsen one part of some codes, or leave it exact."""
    return codes if rounding is None else rounding.apply(codes, place)
