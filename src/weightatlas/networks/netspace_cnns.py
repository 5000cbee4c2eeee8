"""Plain CNNs of NetSpace (Berardi et al., 2022): LeNetLike and VanillaCNN, for 32x32 and 64x64 images."""

from torch import nn

from weightatlas.networks.registry import activation_of, after, dropout_of, networks

_LARGE = 64  # images of at least this side get the Tiny-ImageNet variants


def _convolutions(
    channels_in: int, side: int, layers: list[tuple[int, int, int, int]], activation: str
) -> tuple[list[nn.Module], int]:
    """Stack convolutions, each followed by the activation; also return the side that is left.

    Args:
        channels_in: Channels of the image.
        side: Side of the image.
        layers: (channels, kernel, stride, padding) of each.
        activation: Its name.
    """
    modules: list[nn.Module] = []
    for channels, kernel, stride, padding in layers:
        side = after(side, kernel, stride, padding)
        modules += [nn.Conv2d(channels_in, channels, kernel, stride, padding), activation_of(activation)]
        channels_in = channels
    return modules, side


@networks.register("lenet_like")
def lenet_like(
    channels_in: int = 3,
    image_size: int = 32,
    classes: int = 10,
    activation: str = "leaky_relu",
    dropout: float = 0.0,
) -> nn.Sequential:
    """LeNet without pooling: 62,006 parameters on 3x32x32; 79,612 on 3x64x64 with 200 classes."""
    layers = [(6, 5, 2, 0), (16, 5, 2, 0)]
    if image_size >= _LARGE:
        layers = [(4, 5, 2, 2), (8, 5, 2, 0), (16, 5, 2, 0)]
    convolutions, side = _convolutions(channels_in, image_size, layers, activation)
    return nn.Sequential(
        *(*convolutions, nn.Flatten()),
        *(nn.Linear(16 * side**2, 120), activation_of(activation), *dropout_of(dropout)),
        *(nn.Linear(120, 84), activation_of(activation), *dropout_of(dropout)),
        nn.Linear(84, classes),
    )


@networks.register("vanilla_cnn")
def vanilla_cnn(
    channels_in: int = 3,
    image_size: int = 32,
    classes: int = 10,
    activation: str = "leaky_relu",
    dropout: float = 0.0,
) -> nn.Sequential:
    """Five 3x3 convolutions: 68,818 parameters on 3x32x32; 112,856 on 3x64x64 with 200 classes."""
    widths, strides = (8, 8, 32, 64, 64), (2, 1, 2, 1, 2)
    if image_size >= _LARGE:
        widths, strides = (8, 16, 32, 64, 64), (2, 2, 2, 2, 2)
    layers = [(width, 3, stride, 1) for width, stride in zip(widths, strides, strict=True)]
    convolutions, side = _convolutions(channels_in, image_size, layers, activation)
    return nn.Sequential(
        *(*convolutions, nn.Flatten(), *dropout_of(dropout)), nn.Linear(widths[-1] * side**2, classes)
    )
