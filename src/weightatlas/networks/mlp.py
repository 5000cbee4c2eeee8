"""Multilayer perceptron."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from weightatlas.networks.registry import activation_of, dropout_of, networks


@networks.register("mlp")
def mlp(
    channels_in: int = 1,
    image_size: int = 8,
    classes: int = 10,
    activation: str = "relu",
    dropout: float = 0.0,
    hidden: Sequence[int] = (32, 32),
) -> nn.Sequential:
    """Flatten the image, then dense layers of the given widths."""
    widths = [channels_in * image_size**2, *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), activation_of(activation), *dropout_of(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
