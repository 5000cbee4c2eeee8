"""Architectures by name, with options that every family understands."""

import inspect
from typing import Any

import torch
from torch import nn

from weightatlas.errors import ConfigError
from weightatlas.registry import Registry

networks: Registry[nn.Module] = Registry("network")

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "none": nn.Identity,
}


def create_network(name: str, **options: Any) -> nn.Module:
    """Build an architecture by name; the same name and options give the same structure.

    The global random stream is left as it was, and the numbers a module is born with are
    always the same: networks of a zoo are initialized by `population`.

    Example:
        >>> sum(p.numel() for p in create_network("cnn3").parameters())
        10853

    Args:
        name: A name from `networks.names()`.
        options: `channels_in`, `image_size`, `classes`, `activation`, `dropout` and what the family adds.

    Raises:
        ConfigError: The name, an option or its value is unknown, or the images are too small.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would set the streams of all GPUs, too
        return networks.create(name, **options)


def input_shape_of(name: str, **options: Any) -> tuple[int, ...]:
    """Tell the shape of one input: (channels, height, width), or (coordinates,) of a signal's network.

    Example:
        >>> input_shape_of("cnn3"), input_shape_of("siren", coordinates=3)
        ((3, 32, 32), (3,))
    """
    parameters = inspect.signature(networks.get(name)).parameters
    if "coordinates" in parameters:
        return (options.get("coordinates", parameters["coordinates"].default),)
    channels = options.get("channels_in", parameters["channels_in"].default)
    size = options.get("image_size", parameters["image_size"].default)
    return (channels, size, size)


def activation_of(name: str) -> nn.Module:
    """Make an activation module by name.

    Raises:
        ConfigError: The name is unknown.
    """
    if name not in ACTIVATIONS:
        raise ConfigError(
            f"There is no activation called '{name}'.", todo=f"Known: {', '.join(ACTIVATIONS)}."
        )
    return ACTIVATIONS[name]()


def after(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """Side length of a feature map after a convolution or pooling.

    Raises:
        ConfigError: The map is smaller than the kernel.
    """
    result = (size + 2 * padding - kernel) // stride + 1
    if result < 1:
        raise ConfigError(
            f"A feature map of {size}x{size} is too small for a {kernel}x{kernel} kernel.",
            todo="Choose a larger image_size or another network.",
        )
    return result


def dropout_of(rate: float) -> list[nn.Module]:
    """A dropout layer, or nothing for rate 0, so that plain networks stay plain."""
    if not 0 <= rate < 1:
        raise ConfigError(f"Dropout is {rate}, it must be at least 0 and below 1.")
    return [nn.Dropout(rate)] if rate else []
