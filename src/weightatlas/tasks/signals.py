"""Signals that small networks represent: a sine per network, of its own frequency."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from weightatlas.config import Config
from weightatlas.runtime import stream, uniform


class SineConfig(Config):
    """Sines `y = sin(frequency * x)` for x in [-pi, pi], as in Navon et al. (2023) and SNE.

    Args:
        low: Smallest frequency.
        high: Largest frequency.
        points: Places at which every sine is given, evenly spaced.
    """

    low: float = 0.5
    high: float = 10.0
    points: int = Field(default=128, ge=2)

    @model_validator(mode="after")
    def _ordered(self) -> "SineConfig":
        if not 0 <= self.low < self.high:
            raise ValueError(f"frequencies from {self.low} to {self.high} are no range")
        return self


@dataclass(frozen=True, slots=True)
class Signals:
    """One signal per network, given at the same places.

    Args:
        frequency: Float64, shape `(networks,)`.
        inputs: Places as coordinates in [-1, 1], shape `(points, 1)`.
        targets: Values there, shape `(networks, points, 1)`.
    """

    frequency: Float[Tensor, " networks"]
    inputs: Float[Tensor, "points 1"]
    targets: Float[Tensor, "networks points 1"]


def sines(keys: Int[Tensor, " networks"], config: SineConfig) -> Signals:
    """Draw a frequency per network, uniformly; it depends on the network's key alone.

    Example:
        >>> signals = sines(torch.arange(3), SineConfig(points=4))
        >>> signals.targets.shape, bool((signals.frequency >= 0.5).all())
        (torch.Size([3, 4, 1]), True)

    Args:
        keys: One 64-bit key per network.
        config: Range of frequencies, number of points.
    """
    drawn = uniform(stream(keys, "frequency"), 1)[:, 0]
    frequency = config.low + (config.high - config.low) * drawn
    place = torch.linspace(-1, 1, config.points, dtype=torch.float64)
    values = torch.sin(frequency[:, None] * math.pi * place)
    return Signals(frequency, place.float()[:, None], values.float()[..., None])
