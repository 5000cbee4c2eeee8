"""Distances between networks as weight vectors, in pieces that fit the memory."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.symmetry.matching import canonical
from weightatlas.weights.spec import NetworkSpec


def distances(
    first: Float[Tensor, "networks params"], second: Float[Tensor, "others params"], chunk: int = 256
) -> Float[Tensor, "networks others"]:
    """Euclidean distance of every network of one set to every network of another, computed in float64.

    Args:
        first: Networks as rows.
        second: Networks as rows, of the same layout.
        chunk: Rows of `first` held in float64 at a time.
    """
    # Centering keeps nearly equal networks apart from the rounding error of the inner products.
    center = second.double().mean(0)
    other = second.double() - center
    parts = [torch.cdist(part.double() - center, other) for part in first.split(chunk)]
    return torch.cat(parts).float()


def nearest(
    networks: Float[Tensor, "networks params"], among: Float[Tensor, "others params"], chunk: int = 256
) -> tuple[Float[Tensor, " networks"], Int[Tensor, " networks"]]:
    """Return distance and index of the nearest row of `among` for each network."""
    found = [distances(part, among, chunk).min(1) for part in networks.split(chunk)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def pairwise_mean(values: Float[Tensor, "networks numbers"]) -> float:
    """Mean distance over all pairs of different rows.

    Raises:
        DataError: There are fewer than two rows.
    """
    count = len(values)
    if count < 2:
        raise DataError(f"Diversity is defined for at least 2 networks; there is {count}.")
    between = distances(values, values)
    between.fill_diagonal_(0)  # rounding
    return float(between.double().sum() / (count * (count - 1)))


def aligned(
    values: Float[Tensor, "networks params"], reference: Float[Tensor, " params"], spec: NetworkSpec | None
) -> Float[Tensor, "networks params"]:
    """Bring networks into the neuron order of a reference; without a spec, return them as they are."""
    if spec is None or not spec.groups:
        return values
    return canonical(values, reference, spec)
