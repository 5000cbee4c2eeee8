"""SIREN: networks with sine activations that represent one signal each."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from weightatlas.errors import ConfigError
from weightatlas.networks.registry import networks


class Sine(nn.Module):
    """`sin(omega x)`.

    Args:
        omega: Frequency.
    """

    def __init__(self, omega: float = 30.0) -> None:
        super().__init__()
        self.omega = omega

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.omega * x)

    def extra_repr(self) -> str:
        return f"omega={self.omega}"


class Shift(nn.Module):
    """`x + value`: signals in 0..1 have their middle at 0.5.

    Args:
        value: What is added.
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x + self.value

    def extra_repr(self) -> str:
        return f"value={self.value}"


@networks.register("siren")
def siren(
    coordinates: int = 2,
    outputs: int = 1,
    hidden: Sequence[int] = (32, 32),
    omega: float = 30.0,
    shift: float = 0.0,
) -> nn.Sequential:
    """Map coordinates to a signal through sine layers (Sitzmann et al., 2020).

    2-32-32-1 for images has 1,185 parameters, 3-256-256-1 for signed distances 67,073. First weights
    come from `initialize(spec, keys, "siren")`, which assumes a frequency of 30.

    Example:
        >>> sum(p.numel() for p in siren(3, 1, (256, 256)).parameters())
        67073

    Args:
        coordinates: Numbers that name one point of the signal.
        outputs: Numbers the signal has there.
        hidden: Widths of the sine layers.
        omega: Frequency of every sine.
        shift: Added to the outputs; Navon et al. (2023) add 0.5.

    Raises:
        ConfigError: There is no sine layer, or a width is below 1.
    """
    if not hidden or min(coordinates, outputs, *hidden) < 1:
        raise ConfigError(f"A SIREN of {coordinates} > {tuple(hidden)} > {outputs} cannot be built.")
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise([coordinates, *hidden]):
        layers += [nn.Linear(width_in, width_out), Sine(omega)]
    layers += [nn.Linear(hidden[-1], outputs), *([Shift(shift)] if shift else [])]
    return nn.Sequential(*layers)
