"""What several encoders are built of: linear layers with ReLU between them."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def perceptron(sizes: Sequence[int], dropout: float = 0.0, last: bool = True) -> nn.Sequential:
    """Linear layers with ReLU between them.

    Example:
        >>> sum(p.numel() for p in perceptron((1, 128, 128), last=False).parameters())
        16768

    Args:
        sizes: Widths, the input's first.
        dropout: Dropout probability after every ReLU.
        last: Whether a ReLU also follows the last layer.
    """
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(before, after))
        if last or place < len(sizes) - 2:
            layers.append(nn.ReLU())
            layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers)
