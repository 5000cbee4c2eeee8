"""What all ways of drawing codes share: their registry, their settings, and principal coordinates."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.registry import Registry

samplers: "Registry[Tensor]" = Registry("sampling method")
"""Name -> function(codes (anchors, codes, width), count, generator, settings) -> (count, codes, width)."""


class SampleConfig(Config):
    """Settings of sampling; each method reads those it needs.

    Args:
        bandwidth: Width of a density's kernel in standard deviations of each coordinate over anchors, 0.2 if
            not given; for methods named legacy it is absolute, 0.002 if not given.
        components: Principal components, at most anchors - 1.
        neighbors: Nearest anchors that neighborhood methods consider.
        steps: Training steps of learned generators.
        sigma: Standard deviation of "prior"; the root mean square of the anchors' codes if not given.
    """

    bandwidth: float | None = Field(default=None, ge=0)
    components: int = Field(default=32, ge=1)
    neighbors: int = Field(default=3, ge=1)
    steps: int = Field(default=1500, ge=1)
    sigma: float | None = Field(default=None, gt=0)


@dataclass(frozen=True, slots=True)
class Principal:
    """Anchors in the coordinates of their principal components.

    Args:
        points: Coordinates, shape `(anchors, components)`.
        back: From coordinates `(count, components)` to codes `(count, codes, width)`.
    """

    points: Float[Tensor, "anchors components"]
    back: Callable[[Tensor], Tensor]


def principal(codes: Float[Tensor, "anchors codes width"], components: int) -> Principal:
    """Write anchors as mean plus principal components; there are at most anchors - 1 of them."""
    shape, flat = codes.shape[1:], codes.flatten(1)
    mean = flat.mean(0)
    _, _, directions = torch.linalg.svd((flat - mean).double(), full_matrices=False)
    basis = directions[: min(components, len(flat) - 1)].T.to(flat)
    return Principal((flat - mean) @ basis, lambda points: (points @ basis.T + mean).view(-1, *shape))


def normal(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw standard normal numbers on the generator's device and bring them to a tensor's."""
    return torch.randn(shape, generator=generator, device=generator.device).to(like)


def uniform(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw numbers between 0 and 1 on the generator's device and bring them to a tensor's."""
    return torch.rand(shape, generator=generator, device=generator.device).to(like)
