"""Four tiny networks for 8x8 images, each larger than the one before: NetSpace's architectures in small."""

from torch import nn

from weightatlas.errors import ConfigError
from weightatlas.networks.registry import activation_of, after, dropout_of, networks
from weightatlas.networks.resnet_small import Block

STEPS = 4


@networks.register("ladder")
def ladder(
    channels_in: int = 1,
    image_size: int = 8,
    classes: int = 10,
    activation: str = "leaky_relu",
    dropout: float = 0.0,
    step: int = 0,
    width: int = 8,
) -> nn.Sequential:
    """One step of the ladder: 1,250, 1,954, 5,530 and 11,338 parameters, batch norms folded.

    Steps 0 and 1 are plain CNNs, steps 2 and 3 residual networks with one and two blocks per stage.

    Example:
        >>> sum(p.numel() for p in ladder(step=1).parameters())
        1954

    Args:
        channels_in: Channels of the image.
        image_size: Its side.
        classes: Outputs.
        activation: Its name.
        dropout: Before the last layer.
        step: 0 to 3.
        width: Channels of the first stage; twice the usual makes a teacher.

    Raises:
        ConfigError: There is no such step.
    """
    if not 0 <= step < STEPS:
        raise ConfigError(f"The ladder has steps 0 to {STEPS - 1}, not {step}.")
    if step >= 2:
        return _residual(channels_in, image_size, classes, activation, dropout, step - 1, width)
    half = after(image_size, 3, 2, 1)
    act = activation_of
    if step == 0:
        return nn.Sequential(
            *(nn.Conv2d(channels_in, width // 2, 3, 2, padding=1), act(activation), nn.Flatten()),
            *(nn.Linear(width // 2 * half**2, 2 * width), act(activation), *dropout_of(dropout)),
            nn.Linear(2 * width, classes),
        )
    return nn.Sequential(
        *(nn.Conv2d(channels_in, width, 3, padding=1), act(activation)),
        *(nn.Conv2d(width, width, 3, 2, padding=1), act(activation), nn.Flatten(), *dropout_of(dropout)),
        nn.Linear(width * half**2, classes),
    )


def _residual(
    channels_in: int, image_size: int, classes: int, activation: str, dropout: float, blocks: int, width: int
) -> nn.Sequential:
    """Stem, two stages of residual blocks, 2x2 average pooling, one dense layer."""
    side, channels = image_size, width
    stages: list[nn.Module] = []
    for out, stride in ((width, 1), (2 * width, 2)):
        for number in range(blocks):
            step = stride if number == 0 else 1
            side = after(side, 3, step, 1)
            stages.append(Block(channels, out, step, activation))
            channels = out
    side = after(side, 2, 2)
    return nn.Sequential(
        *(nn.Conv2d(channels_in, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)),
        *(activation_of(activation), *stages, nn.AvgPool2d(2), nn.Flatten(), *dropout_of(dropout)),
        nn.Linear(channels * side**2, classes),
    )


@networks.register("cnn_strided")
def cnn_strided(
    channels_in: int = 1,
    image_size: int = 8,
    classes: int = 10,
    activation: str = "leaky_relu",
    dropout: float = 0.0,
) -> nn.Sequential:
    """Two convolutions and one dense layer: 3,818 parameters on 1x8x8."""
    side = after(image_size, 3, 2, 1)
    return nn.Sequential(
        *(nn.Conv2d(channels_in, 8, 3, padding=1), activation_of(activation)),
        *(nn.Conv2d(8, 16, 3, 2, padding=1), activation_of(activation), nn.Flatten(), *dropout_of(dropout)),
        nn.Linear(16 * side**2, classes),
    )
