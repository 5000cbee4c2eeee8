"""What a layer's inputs look like: columns, and their second moments."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from weightatlas.encoders.ranks import CodedLayer
from weightatlas.population.operations import Conv2d, Operation


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
