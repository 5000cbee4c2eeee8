"""Sinusoidal positions of integers, several fields summed."""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

_PHASE = 1.7


def sinusoids(positions: Shaped[Tensor, "*shape"], dim: int, field: int = 0) -> Float[Tensor, "*shape dim"]:
    """Encode numbers by sines and cosines of geometric frequencies (Vaswani et al., 2017).

    Every field has its own phase. Without it the sum of two encoded fields would be the same when their
    values are exchanged: layer 2 of type 3 would look like layer 3 of type 2.

    Example:
        >>> sinusoids(torch.tensor([0.0, 1.0]), 2).round(decimals=2)
        tensor([[0.0000, 1.0000],
                [0.8400, 0.5400]])

    Args:
        positions: Numbers, integers or not.
        dim: Width of the vectors; even.
        field: Which field the numbers are of.
    """
    steps = torch.arange(dim // 2, dtype=torch.float64, device=positions.device)
    angles = (
        positions.double()[..., None] * torch.exp(steps * (-2 * math.log(10_000.0) / dim)) + _PHASE * field
    )
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


def summed(
    fields: Shaped[Tensor, "*shape count"], numbers: list[int], dim: int
) -> Float[Tensor, "*shape dim"]:
    """Sum the encodings of several fields; a field that is 0 adds nothing.

    So a field that does not apply (the tap of a matrix) leaves no trace.

    Args:
        fields: One number per field.
        numbers: Which field each is; fields that are left out are not encoded.
        dim: Width of the vectors; even.
    """
    total = torch.zeros(*fields.shape[:-1], dim, device=fields.device)
    for place, number in enumerate(numbers):
        zero = sinusoids(torch.zeros((), device=fields.device), dim, number)
        total += sinusoids(fields[..., place], dim, number) - zero
    return total
