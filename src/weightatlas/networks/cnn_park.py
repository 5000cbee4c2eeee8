"""Convolutional networks of any depth, kernels, shortcuts and activations: the CNN Wild Park."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.errors import ConfigError, gather
from weightatlas.networks.registry import ACTIVATIONS, activation_of, dropout_of, networks
from weightatlas.runtime import numpy_generator_of


class ParkNetwork(nn.Module):
    """Convolutions that keep the size of the image, global average pooling, one dense layer.

    Shortcuts are those of Kofinas et al. (2024, CNN Wild Park): layer `i` adds the output of layer
    `residual[i]` before its activation, as far as both have channels.

    Args:
        channels: Channels of the image, then of every layer.
        kernels: Kernel of every layer; odd.
        residual: Layer whose output each layer adds, -1 for none.
        activations: Names of the activations.
        classes: Outputs.
        dropout: Probability before the dense layer.
    """

    def __init__(
        self,
        channels: Sequence[int],
        kernels: Sequence[int],
        residual: Sequence[int],
        activations: Sequence[str],
        classes: int,
        dropout: float,
    ) -> None:
        super().__init__()
        layers = zip(pairwise(channels), kernels, strict=True)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, k, padding=k // 2) for (a, b), k in layers)
        self.activations = nn.ModuleList(activation_of(name) for name in activations)
        self.residual = tuple(residual)
        self.widths = tuple(channels[1:])
        self.global_pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.drop = nn.Sequential(*dropout_of(dropout))
        self.fc = nn.Linear(channels[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for index, (layer, activation) in enumerate(zip(self.layers, self.activations, strict=True)):
            x = layer(x)
            source = self.residual[index]
            if source >= 0:
                x = _added(x, outputs[source], self.widths[index], self.widths[source])
            x = activation(x)
            outputs.append(x)
        return self.fc(self.drop(self.flatten(self.global_pool(x))))


def _added(
    x: Float[Tensor, "images a height width"],
    shortcut: Float[Tensor, "images b height width"],
    a: int,
    b: int,
) -> Float[Tensor, "images a height width"]:
    """Add the channels that both have."""
    if a == b:
        return x + shortcut
    if a < b:
        return x + shortcut[:, :a]
    return torch.cat([x[:, :b] + shortcut, x[:, b:]], dim=1)


@networks.register("cnn_park")
def cnn_park(
    channels_in: int = 3,
    image_size: int = 32,
    classes: int = 10,
    activation: str | Sequence[str] = "relu",
    dropout: float = 0.0,
    widths: Sequence[int] = (16, 16, 32),
    kernels: Sequence[int] = (3, 5, 3),
    residual: Sequence[int] = (-1, -1, 0),
) -> ParkNetwork:
    """One network of the varied-architecture park (Kofinas et al., 2024).

    Example:
        >>> sum(p.numel() for p in cnn_park(widths=(8, 4), kernels=(3, 7), residual=(-1, -1)).parameters())
        1846

    Args:
        channels_in: Channels of the image.
        image_size: Its side.
        classes: Outputs.
        activation: One name for all layers, or one each.
        dropout: Before the dense layer.
        widths: Channels of every layer.
        kernels: Their kernels, odd numbers.
        residual: Which earlier layer each adds, -1 for none; not the one right before it.

    Raises:
        ConfigError: The lists have unequal lengths, a kernel is even or a shortcut leads nowhere.
    """
    names = [activation] * len(widths) if isinstance(activation, str) else list(activation)
    lengths = {"widths": len(widths), "kernels": len(kernels), "residual": len(residual)}
    problems = []
    if len({*lengths.values(), len(names)}) > 1 or not widths:
        problems.append(f"lists have lengths {lengths} and {len(names)} activations")
    problems += [f"kernel {kernel} is not odd" for kernel in kernels if kernel % 2 == 0]
    problems += [
        f"layer {layer} cannot add the output of layer {source}"
        for layer, source in enumerate(residual)
        if source != -1 and not 0 <= source < layer - 1
    ]
    gather(ConfigError, problems, where="In the options of 'cnn_park'.")
    return ParkNetwork([channels_in, *widths], kernels, residual, names, classes, dropout)


class ParkDraw(Config):
    """What architectures of a park are drawn from; the defaults are the published ranges.

    Example:
        >>> len(ParkDraw(draw="cnn_park", count=3).options())
        3

    Args:
        draw: Always "cnn_park".
        count: Architectures.
        seed: Seed of the draw; more architectures leave the first ones as they are.
        layers: Numbers of convolutions.
        channels: Channels of a convolution.
        kernels: Sizes of kernels.
        activations: Names of activations, drawn anew for each layer.
    """

    draw: str = Field(pattern="^cnn_park$")
    count: int = Field(ge=1)
    seed: int = 0
    layers: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    channels: tuple[int, ...] = (4, 8, 16, 32, 64)
    kernels: tuple[int, ...] = (3, 5, 7)
    activations: tuple[str, ...] = tuple(ACTIVATIONS)

    def options(self) -> list[dict[str, Any]]:
        """Draw the options of all architectures."""
        return [self._draw(index) for index in range(self.count)]

    def _draw(self, index: int) -> dict[str, Any]:
        rng = numpy_generator_of("park", self.seed, index)
        depth = int(rng.choice(self.layers))
        pick = lambda values: [values[k] for k in rng.integers(len(values), size=depth)]  # noqa: E731
        # A shortcut comes from none of the earlier layers or from any but the one right before.
        sources = [-1, *(int(rng.integers(-1, max(layer - 1, 0))) for layer in range(1, depth))]
        drawn = {"widths": pick(self.channels), "kernels": pick(self.kernels), "residual": sources}
        return {**drawn, "activation": pick(self.activations)}
