"""LeNet-5, and a small one for 8x8 images."""

from torch import nn

from weightatlas.networks.registry import activation_of, after, dropout_of, networks


@networks.register("lenet5")
def lenet5(
    channels_in: int = 3,
    image_size: int = 32,
    classes: int = 10,
    activation: str = "relu",
    dropout: float = 0.0,
) -> nn.Sequential:
    """LeNet-5 with max pooling: 62,006 parameters on 3x32x32."""
    side = after(after(after(after(image_size, 5), 2, 2), 5), 2, 2)
    return nn.Sequential(
        *(nn.Conv2d(channels_in, 6, 5), nn.MaxPool2d(2), activation_of(activation), *dropout_of(dropout)),
        *(nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), activation_of(activation), *dropout_of(dropout)),
        *(nn.Flatten(), nn.Linear(16 * side**2, 120), activation_of(activation), *dropout_of(dropout)),
        *(nn.Linear(120, 84), activation_of(activation), *dropout_of(dropout)),
        nn.Linear(84, classes),
    )


@networks.register("lenet_digits")
def lenet_digits(
    channels_in: int = 1,
    image_size: int = 8,
    classes: int = 10,
    activation: str = "tanh",
    dropout: float = 0.0,
) -> nn.Sequential:
    """LeNet for 8x8 digits, with tanh and average pooling as in 1998: 5,958 parameters on 1x8x8."""
    side = after(after(image_size, 2, 2), 2, 2)
    return nn.Sequential(
        *(nn.Conv2d(channels_in, 6, 3, padding=1), activation_of(activation), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 3, padding=1), activation_of(activation), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * side**2, 48), activation_of(activation), *dropout_of(dropout)),
        *(nn.Linear(48, 32), activation_of(activation), *dropout_of(dropout)),
        nn.Linear(32, classes),
    )
