"""Device, precision, threads, and randomness that depends on keys alone."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import ConfigError

_MULTIPLIERS = (-7046029254386353131, -4658895280553007687, -7723592293110705685)  # splitmix64, as signed


def pick_device(name: str = "auto") -> torch.device:
    """Choose where tensors live: a CUDA device if there is one and `accelerate launch --cpu` is not meant.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')

    Raises:
        ConfigError: There is no such device.
    """
    if name == "auto":
        gpu = torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() != "true"
        return torch.device("cuda" if gpu else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"There is no device '{name}'.", todo="Use auto, cpu or cuda.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"The device '{name}' was asked for, but there is no CUDA device here.")
    return device


def cores() -> int:
    """Count the processor cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


MEMORY = "WEIGHTATLAS_MEMORY_MB"  # names the budget; workers inherit it


def memory_budget() -> float:
    """Megabytes that weights, outputs and activations may take together: `WEIGHTATLAS_MEMORY_MB`, else 2048.

    Processes of one training share it, as far as they run on the same machine.

    Raises:
        ConfigError: It is no positive number.
    """
    text = os.environ.get(MEMORY, "2048")
    try:
        budget = float(text)
    except ValueError:
        budget = 0.0
    if not 0 < budget < float("inf"):
        raise ConfigError(f"The memory budget {text!r} is no number of megabytes.", todo="For example 2048.")
    return budget / int(os.environ.get("LOCAL_WORLD_SIZE") or 1)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run a block with `count` torch threads; tiny networks are fastest with one."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def key_of(*parts: object) -> int:
    """Hash a few values to a signed 64-bit key, the same on every machine and Python.

    Example:
        >>> key_of("cnn3", 7) == key_of("cnn3", 7)
        True

    Args:
        parts: Strings, numbers, or containers of them with a stable `repr`.
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def generator_of(*parts: object, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a torch generator whose stream depends on `parts` alone."""
    return torch.Generator(device=device).manual_seed(key_of(*parts) & 0x7FFF_FFFF_FFFF_FFFF)


def numpy_generator_of(*parts: object) -> np.random.Generator:
    """Make a numpy generator whose stream depends on `parts` alone."""
    return np.random.default_rng(key_of(*parts) & 0x7FFF_FFFF_FFFF_FFFF)


def _mix(x: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """Scramble 64-bit integers (the finalizer of splitmix64, Steele et al., 2014)."""
    x = (x ^ ((x >> 30) & 0x3_FFFF_FFFF)) * _MULTIPLIERS[1]
    x = (x ^ ((x >> 27) & 0x1F_FFFF_FFFF)) * _MULTIPLIERS[2]
    return x ^ ((x >> 31) & 0x1_FFFF_FFFF)


def stream(keys: Int[Tensor, " networks"], *counters: int | str) -> Int[Tensor, " networks"]:
    """Derive one sub-key per network from its key and any counters (step, use).

    Example:
        >>> keys = torch.tensor([1, 2])
        >>> bool((stream(keys, 5, "dropout")[:1] == stream(keys[:1], 5, "dropout")).all())
        True
    """
    for counter in counters:
        part = counter if isinstance(counter, int) else key_of(counter)
        keys = _mix(keys + _signed(part * 0x9E37_79B9_7F4A_7C15 + 0x632B_E59B_D9B4_E019))
    return keys


def uniform(keys: Int[Tensor, " networks"], count: int) -> Float[Tensor, "networks count"]:
    """Draw `count` float64 numbers in [0, 1) per key; row i depends on key i alone.

    Counter-based (key, position) randomness: the numbers of a network never depend on
    its companions, the batch it sits in, the device or the worker.

    Args:
        keys: One 64-bit key per network, from `stream`.
        count: Numbers per network.
    """
    position = torch.arange(1, count + 1, device=keys.device, dtype=torch.int64) * _MULTIPLIERS[0]
    bits = _mix(_mix(keys)[:, None] + position[None, :])
    return ((bits >> 11) & 0x1F_FFFF_FFFF_FFFF).to(torch.float64) * 2.0**-53


def normal(keys: Int[Tensor, " networks"], count: int) -> Float[Tensor, "networks count"]:
    """Draw `count` standard normal float64 numbers per key, by inversion."""
    return torch.special.ndtri(uniform(keys, count).clamp_(2.0**-53, 1 - 2.0**-53))


def shuffles(keys: Int[Tensor, " networks"], count: int) -> Int[Tensor, "networks count"]:
    """Draw one random order of `range(count)` per key."""
    return uniform(keys, count).argsort(dim=1)


def _signed(value: int) -> int:
    """Wrap a Python integer to the range of int64."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    return value - (1 << 64) if value >> 63 else value
