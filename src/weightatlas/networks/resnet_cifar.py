"""Residual networks of depth 8, 32 and 56 (He et al., 2016), with 1x1 shortcuts as NetSpace trains them."""

from functools import partial

from torch import nn

from weightatlas.networks.registry import activation_of, after, dropout_of, networks
from weightatlas.networks.resnet_small import Block


def residual(
    channels_in: int, image_size: int, classes: int, activation: str, dropout: float, blocks: int
) -> nn.Sequential:
    """Stem of 16 channels, three stages of 16, 32 and 64 channels, 8x8 average pooling, one dense layer.

    Args:
        channels_in: Channels of the image.
        image_size: Its side; the last map is pooled by 8x8 windows.
        classes: Outputs.
        activation: Its name.
        dropout: Before the dense layer.
        blocks: Residual blocks in each stage; depth 6 * blocks + 2.
    """
    side, channels = image_size, 16
    stages: list[nn.Module] = []
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        for number in range(blocks):
            step = stride if number == 0 else 1
            side = after(side, 3, step, 1)
            stages.append(Block(channels, width, step, activation))
            channels = width
    side = after(side, 8, 8)
    return nn.Sequential(
        *(
            nn.Conv2d(channels_in, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            activation_of(activation),
        ),
        *(*stages, nn.AvgPool2d(8), nn.Flatten(), *dropout_of(dropout)),
        nn.Linear(channels * side**2, classes),
    )


def _family(
    channels_in: int = 3,
    image_size: int = 32,
    classes: int = 10,
    activation: str = "leaky_relu",
    dropout: float = 0.0,
    *,
    blocks: int,
) -> nn.Sequential:
    """A residual network of depth 6 * blocks + 2.

    On 3x32x32 with 10 classes depth 8 has 78,042 trained parameters (77,706 once norms are folded), depth
    32 466,906 (465,674), depth 56 855,770 (853,642); on 3x64x64 with 200 classes 128,792 (128,456),
    517,656 (516,424) and 906,520 (904,392).
    """
    return residual(channels_in, image_size, classes, activation, dropout, blocks)


for _depth, _blocks in ((8, 1), (32, 5), (56, 9)):
    networks.register(f"resnet{_depth}")(partial(_family, blocks=_blocks))
