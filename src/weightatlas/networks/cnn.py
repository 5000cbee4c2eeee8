"""Plain convolutional networks of the published zoos, and one for 8x8 digits."""

from collections.abc import Sequence

from torch import nn

from weightatlas.networks.registry import activation_of, after, dropout_of, networks


@networks.register("cnn_small")
def cnn_small(
    channels_in: int = 1,
    image_size: int = 28,
    classes: int = 10,
    activation: str = "tanh",
    dropout: float = 0.0,
    widths: Sequence[int] = (8, 6, 4),
) -> nn.Sequential:
    """Small CNN of the hyper-representation zoos: 2,464 parameters on 1x28x28, 2,864 on 3x28x28.

    Widths of (6, 9, 6) make the second small CNN of the published zoos ("CNN2").
    """
    first, second, third = widths
    side = after(after(after(image_size, 5), 2, 2), 5)
    side = after(after(side, 2, 2), 2)
    return nn.Sequential(
        *(nn.Conv2d(channels_in, first, 5), nn.MaxPool2d(2), activation_of(activation), *dropout_of(dropout)),
        *(nn.Conv2d(first, second, 5), nn.MaxPool2d(2), activation_of(activation), *dropout_of(dropout)),
        *(nn.Conv2d(second, third, 2), activation_of(activation), nn.Flatten()),
        *(nn.Linear(third * side**2, 20), activation_of(activation), *dropout_of(dropout)),
        nn.Linear(20, classes),
    )


@networks.register("cnn_unterthiner")
def cnn_unterthiner(
    channels_in: int = 1,
    image_size: int = 32,
    classes: int = 10,
    activation: str = "relu",
    dropout: float = 0.0,
) -> nn.Sequential:
    """CNN of the small-CNN zoo (Unterthiner et al., 2020): 4,970 parameters on one channel."""
    side, layers, channels = image_size, [], channels_in
    for _ in range(3):
        side = after(side, 3, 2)
        layers += [nn.Conv2d(channels, 16, 3, stride=2), activation_of(activation), *dropout_of(dropout)]
        channels = 16
    return nn.Sequential(*layers, nn.AvgPool2d(side), nn.Flatten(), nn.Linear(16, classes))


@networks.register("cnn3")
def cnn3(
    channels_in: int = 3,
    image_size: int = 32,
    classes: int = 10,
    activation: str = "relu",
    dropout: float = 0.0,
) -> nn.Sequential:
    """CNN of "Structure Is Not Enough": 10,853 parameters on 3x32x32."""
    side, layers, channels = image_size, [], channels_in
    for width in (16, 32, 15):
        side = after(after(side, 3), 2, 2)
        layers += [nn.Conv2d(channels, width, 3), nn.MaxPool2d(2), activation_of(activation)]
        layers += dropout_of(dropout)
        channels = width
    return nn.Sequential(
        *layers,
        *(nn.Flatten(), nn.Linear(15 * side**2, 20), activation_of(activation), *dropout_of(dropout)),
        nn.Linear(20, classes),
    )


@networks.register("digits_cnn")
def digits_cnn(
    channels_in: int = 1,
    image_size: int = 8,
    classes: int = 10,
    activation: str = "relu",
    dropout: float = 0.0,
    width: int = 8,
) -> nn.Sequential:
    """CNN for scikit-learn's digits: 2,758 parameters on 1x8x8; `width` channels, then twice as many."""
    side = after(after(image_size, 2, 2), 2, 2)
    return nn.Sequential(
        *(nn.Conv2d(channels_in, width, 3, padding=1), nn.MaxPool2d(2), activation_of(activation)),
        *(
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.MaxPool2d(2),
            activation_of(activation),
            *dropout_of(dropout),
        ),
        *(nn.Flatten(), nn.Linear(2 * width * side**2, 20), activation_of(activation), *dropout_of(dropout)),
        nn.Linear(20, classes),
    )
