"""What a layer's inputs look like: columns, and their second moments."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from weightatlas.encoders.ranks import CodedLayer
from weightatlas.population.operations import Operation
from weightatlas.population.operations_layers import Conv2d


def columns_of(operation: Operation, x: Tensor, layer: CodedLayer) -> Float[Tensor, "_ columns samples"]:
    """Lay a layer's inputs out as columns: one per image, or one per image and position.

    Args:
        operation: The layer.
        x: Its input, `(networks or 1, features..., batch)`.
        layer: Its tensors.
    """
    if isinstance(operation, Conv2d):
        images = x.movedim(-1, 1)
        patches = F.unfold(
            images.flatten(0, 1),
            operation.kernel,
            dilation=operation.dilation,
            padding=operation.padding,
            stride=operation.stride,
        )
        columns = patches.unflatten(0, images.shape[:2]).transpose(1, 2).flatten(2)
    else:
        columns = x
    return F.pad(columns, (0, 0, 0, 1), value=1.0) if layer.bias else columns


def second_moment(columns: Float[Tensor, "n d samples"]) -> Float[Tensor, "n d d"]:
    """Return the mean outer product of the columns, in float64."""
    return torch.bmm(columns, columns.transpose(1, 2)).double() / columns.shape[2]


def cross_moment(
    first: Float[Tensor, "_ d samples"], second: Float[Tensor, "_ d samples"], networks: int
) -> Float[Tensor, "networks d d"]:
    """Return the mean outer product of two sets of columns; a set of one is shared by all networks."""
    first, second = (part.expand(networks, -1, -1) for part in (first, second))
    return torch.bmm(first, second.transpose(1, 2)) / first.shape[2]


def leading_axes(
    moment: Float[Tensor, "n d d"], rank: int, biased: bool
) -> tuple[Float[Tensor, "n d rank"], Float[Tensor, "n rank"]]:
    """Return leading eigenvectors as columns, and their energies, largest first.

    Signs are fixed by the mean input, not by a coordinate, so that permuting the inputs permutes the
    eigenvectors and changes nothing else. The last column of a biased layer is the constant 1, so the
    mean input stands in the last row of the moment.

    Args:
        moment: Second moments of the inputs.
        rank: Eigenvectors to keep.
        biased: Whether the last input is the constant 1.
    """
    energy, axes = torch.linalg.eigh(moment)
    axes, energy = axes[:, :, -rank:].flip(2), energy[:, -rank:].flip(1)
    mean = (moment[:, -1:] if biased else moment.sum(1, keepdim=True)) @ axes
    axes = axes * torch.where(mean < 0, -1.0, 1.0)
    return axes, torch.maximum(energy, 1e-7 * energy[:, :1] + 1e-30)
