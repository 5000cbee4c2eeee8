"""Residual networks of depth 8, 32 and 56 (He et al., 2016), with 1x1 shortcuts as NetSpace trains them."""

from functools import partial

from torch import nn

from weightatlas.networks.registry import activation_of, after, dropout_of, networks
from weightatlas.networks.resnet_small import Block


def residual(
    channels_in: int,
    image_size: int,
    classes: int,
    activation: str,
    dropout: float,
    width: int,
    blocks: int,
) -> nn.Sequential:
    """Stem, three stages of 1, 2 and 4 times its width, 8x8 average pooling, one dense layer.

    Args:
        channels_in: Channels of the image.
        image_size: Its side; the last map is pooled by 8x8 windows.
        classes: Outputs.
        activation: Its name.
        dropout: Before the dense layer.
        width: Channels of the stem.
        blocks: Residual blocks in each stage; depth 6 * blocks + 2.
    """
    side, channels = image_size, width
    stages: list[nn.Module] = []
    for wider, stride in ((1, 1), (2, 2), (4, 2)):
        for number in range(blocks):
            step = stride if number == 0 else 1
            side = after(side, 3, step, 1)
            stages.append(Block(channels, wider * width, step, activation))
            channels = wider * width
    side = after(side, 8, 8)
    return nn.Sequential(
        *(
            nn.Conv2d(channels_in, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
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
    width: int = 16,
    *,
    blocks: int,
) -> nn.Sequential:
    """A residual network of depth 6 * blocks + 2, as published with a stem of 16 channels.

    On 3x32x32 with 10 classes depth 8 has 78,042 trained parameters (77,706 once norms are folded), depth
    32 466,906 (465,674), depth 56 855,770 (853,642); on 3x64x64 with 200 classes 128,792 (128,456),
    517,656 (516,424) and 906,520 (904,392).
    """
    return residual(channels_in, image_size, classes, activation, dropout, width, blocks)


for _depth, _blocks in ((8, 1), (32, 5), (56, 9)):
    networks.register(f"resnet{_depth}")(partial(_family, blocks=_blocks))
