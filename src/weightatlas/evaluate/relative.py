"""Distances of networks to a reference of their own each, whatever the order of their neurons."""

from jaxtyping import Float
from torch import Tensor

from weightatlas.symmetry.matching import canonical
from weightatlas.weights.spec import NetworkSpec


def aligned_each(
    values: Float[Tensor, "networks params"], references: Float[Tensor, "networks params"], spec: NetworkSpec
) -> Float[Tensor, "networks params"]:
    """Bring every network into the neuron order of a reference of its own.

    Args:
        values: Networks as rows; one that is not finite stays as it is.
        references: As many networks.
        spec: Layout of both.
    """
    found, rows = values.clone(), values.isfinite().all(1)
    if spec.groups and bool(rows.any()):
        found[rows] = canonical(values[rows], references[rows], spec)
    return found


def relative_distances(
    values: Float[Tensor, "networks params"], references: Float[Tensor, "networks params"]
) -> Float[Tensor, " networks"]:
    """Euclidean distance of every network to a reference of its own, in units of the reference's length.

    Example:
        >>> import torch
        >>> relative_distances(torch.tensor([[3.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([0.8000])

    Args:
        values: Networks as rows.
        references: As many networks, of the same layout and not all zero.
    """
    values, references = values.double(), references.double()
    return ((values - references).norm(dim=1) / references.norm(dim=1)).float()
