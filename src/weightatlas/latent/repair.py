"""REPAIR: interpolated networks get back the activation statistics that averaging took from them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from weightatlas.errors import DataError
from weightatlas.population.prepare import prepare
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import unflatten

Moments = dict[str, tuple[Tensor, Tensor]]
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_EPS = 1e-6  # added to standard deviations, for channels that never change


def repair(
    network: nn.Module,
    spec: NetworkSpec,
    start: Float[Tensor, "networks params"],
    end: Float[Tensor, "networks params"],
    middle: Float[Tensor, "networks positions params"],
    positions: Float[Tensor, " positions"],
    inputs: Tensor,
    chunk: int = 32,
) -> Float[Tensor, "networks positions params"]:
    """Rescale and shift every channel of networks on a line to the statistics of its ends.

    Averaging two unlike neurons shrinks the spread of what they say. REPAIR (Jordan et al., 2023) gives
    every channel the mean and standard deviation `(1 - position) start + position end`, layer by layer
    from the input, each measured behind the layers that are already repaired. The result is folded into
    weights and biases, so norms must have been folded too; the last layer stays as it is.

    Args:
        network: Any module of the function.
        spec: The layout of the rows.
        start: Networks where paths begin, in the neuron order of the path.
        end: Networks where they end, in the same order (see `between_weights` with a spec).
        middle: What lies between, from `line(start, end, positions)`.
        positions: Places on the path, 0 to 1.
        inputs: Training inputs to measure on, unlabelled, shape `(queries, ...)`.
        chunk: Networks that are run at once.

    Raises:
        DataError: A layer has no bias to shift, or the network has a norm.
    """
    module = prepare(network, training=False)
    names = _layers(module, inputs[:2].to(next(module.parameters())))
    _check(module, names)
    goals: Moments = {}
    first, last = (_measure(module, spec, names, values, inputs, chunk) for values in (start, end))
    for name in names[:-1]:
        pairs = zip(first[name], last[name], strict=True)
        goal = [torch.lerp(a[:, None], b[:, None], positions.to(a)[:, None]).flatten(0, 1) for a, b in pairs]
        goals[name] = (goal[0], goal[1])
    flat = middle.flatten(0, 1)
    factors = _set(module, spec, names, flat, inputs, goals, chunk)
    tensors = unflatten(flat.clone(), spec)
    for name, (scale, shift) in factors.items():
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        bias.mul_(scale).add_(shift)
        weight.mul_(scale.view(*scale.shape, *[1] * (weight.ndim - 2)))
    joined = torch.cat([tensors[tensor.name].flatten(1) for tensor in spec.tensors], dim=1)
    return joined.view(middle.shape)


def _layers(module: nn.Module, inputs: Tensor) -> list[str]:
    """Names of the dense and convolution layers in the order they are called."""
    called: list[str] = []
    with torch.no_grad(), _watching(module, None, lambda name, out: called.append(name)):
        module(inputs)
    return called


def _check(module: nn.Module, names: list[str]) -> None:
    norms = [name for name, part in module.named_modules() if "Norm" in type(part).__name__]
    if norms:
        raise DataError(
            f"REPAIR works on networks without norms; this one has {', '.join(norms[:3])}.",
            todo="Fold them first: fold_norms(values, spec) and fold_network(network, spec).",
        )
    bare = [name for name in names[:-1] if module.get_submodule(name).bias is None]
    if bare:
        raise DataError(f"REPAIR shifts biases, but {', '.join(bare[:3])} has none.")


def _measure(
    module: nn.Module, spec: NetworkSpec, names: list[str], values: Tensor, inputs: Tensor, chunk: int
) -> Moments:
    """Mean and standard deviation of every channel of every network, shape `(networks, channels)`."""

    def one(state: dict[str, Tensor]) -> Moments:
        found: Moments = {}

        def keep(name: str, out: Tensor) -> None:
            found[name] = _moments(out)

        with _watching(module, names[:-1], keep):
            functional_call(module, state, (inputs,))
        return found

    with torch.no_grad():
        return vmap(one, chunk_size=chunk)(unflatten(values, spec))


def _set(
    module: nn.Module,
    spec: NetworkSpec,
    names: list[str],
    values: Tensor,
    inputs: Tensor,
    goals: Moments,
    chunk: int,
) -> Moments:
    """Factor and shift that give every channel its goal, found from the input on."""

    def one(state: dict[str, Tensor], goal: Moments) -> Moments:
        found: Moments = {}

        def change(name: str, out: Tensor) -> Tensor:
            mean, std = _moments(out)
            scale = goal[name][1] / (std + _EPS)
            found[name] = (scale, goal[name][0] - scale * mean)
            shape = (1, -1, *[1] * (out.ndim - 2))
            return out * scale.view(shape) + found[name][1].view(shape)

        with _watching(module, names[:-1], change):
            functional_call(module, state, (inputs,))
        return found

    with torch.no_grad():
        return vmap(one, chunk_size=chunk)(unflatten(values, spec), goals)


def _moments(out: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over queries and pixels."""
    axes = [axis for axis in range(out.ndim) if axis != 1]
    return out.mean(axes), out.std(axes, correction=0)


@contextmanager
def _watching(
    module: nn.Module, names: list[str] | None, look: Callable[[str, Tensor], Any]
) -> Iterator[None]:
    """Call `look` with the output of each layer; what it returns, if anything, replaces the output."""

    def hook(name: str) -> Callable[..., Any]:
        return lambda _module, _inputs, out: look(name, out)

    handles = [
        part.register_forward_hook(hook(name))
        for name, part in module.named_modules()
        if isinstance(part, _LAYERS) and (names is None or name in names)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
