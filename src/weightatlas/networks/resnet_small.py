"""A small residual CNN with batch norm."""

from collections.abc import Sequence

import torch
from torch import nn

from weightatlas.networks.registry import activation_of, after, dropout_of, networks


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut, as in He et al. (2016)."""

    def __init__(self, channels_in: int, channels: int, stride: int, activation: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = activation_of(activation)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.act2 = activation_of(activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        return self.act2(inner + self.downsample(x))


@networks.register("resnet_small")
def resnet_small(
    channels_in: int = 3,
    image_size: int = 32,
    classes: int = 10,
    activation: str = "relu",
    dropout: float = 0.0,
    widths: Sequence[int] = (8, 16, 32),
) -> nn.Sequential:
    """Stem, one residual block per width (halving the map between them), global average pooling."""
    side, channels, stride = image_size, widths[0], 1
    blocks: list[nn.Module] = []
    for width in widths:
        side = after(side, 3, stride, 1)
        blocks.append(Block(channels, width, stride, activation))
        channels, stride = width, 2
    return nn.Sequential(
        nn.Conv2d(channels_in, widths[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(widths[0]),
        activation_of(activation),
        *blocks,
        *(nn.AvgPool2d(side), nn.Flatten(), *dropout_of(dropout), nn.Linear(channels, classes)),
    )
