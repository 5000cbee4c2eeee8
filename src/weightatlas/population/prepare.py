"""Make a network runnable as a pure function: dropout by given masks, norm statistics returned."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from weightatlas.errors import ConfigError

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class MaskedDropout(nn.Module):
    """Multiply by a mask that is handed in as a buffer, so that randomness stays outside.

    Args:
        channelwise: One mask entry per channel instead of one per number.
    """

    mask: Tensor

    def __init__(self, channelwise: bool) -> None:
        super().__init__()
        self.channelwise = channelwise
        self.shape: tuple[int, ...] = ()
        self.register_buffer("mask", torch.ones(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.shape = (*x.shape[1:2], *(1 for _ in x.shape[2:])) if self.channelwise else tuple(x.shape[1:])
        return x * self.mask if self.training else x


class PureNorm(nn.Module):
    """Batch norm that leaves its running statistics alone and remembers what they should become.

    Args:
        norm: The layer to stand in for; parameters and buffers keep their names.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        if norm.momentum is None and norm.track_running_stats:
            raise ConfigError(
                "A batch norm with momentum=None averages over all steps, which populations cannot do.",
                todo="Give the layer a momentum, for example 0.1.",
            )
        self.eps, self.momentum, self.tracks = norm.eps, norm.momentum or 0.0, norm.track_running_stats
        for name, parameter in norm.named_parameters():
            self.register_parameter(name, parameter)
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)
        self.seen: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = getattr(self, "weight", None), getattr(self, "bias", None)
        if not self.training and self.tracks:
            return self._normalize(x, weight, bias)
        if not self.tracks:
            return F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)
        mean, variance = self.running_mean.detach().clone(), self.running_var.detach().clone()
        self.seen = {"running_mean": mean, "running_var": variance}  # the kernel updates them in place
        return F.batch_norm(x, mean, variance, weight, bias, True, self.momentum, self.eps)

    def _normalize(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Apply the running statistics, differentiable in them: decoders produce them too."""
        scale = torch.rsqrt(self.running_var + self.eps)
        scale = scale if weight is None else scale * weight
        shift = -self.running_mean * scale
        shift = shift if bias is None else shift + bias
        shape = (-1, *(1 for _ in x.shape[2:]))
        return x * scale.view(shape) + shift.view(shape)


def prepare(network: nn.Module, *, training: bool) -> nn.Module:
    """Copy a network with pure dropout and norm layers; state-dict names stay as they were.

    Example:
        >>> prepare(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), training=True)[1]
        MaskedDropout()
    """
    network = copy.deepcopy(network)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    made = {module: _pure(module) for module in network.modules()}
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if name and made[module] is not module:
            parent, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(parent), leaf, made[module])
    return made[network].train(training)


def _pure(module: nn.Module) -> nn.Module:
    if isinstance(module, _DROPOUTS):
        return MaskedDropout(channelwise=not isinstance(module, nn.Dropout))
    return PureNorm(module) if isinstance(module, _BatchNorm) else module


def dropout_shapes(network: nn.Module, inputs: Tensor, drops: bool = True) -> dict[str, tuple[int, ...]]:
    """Run a prepared network once and read which mask each dropout layer needs (without the batch axis).

    Args:
        network: The network.
        inputs: Some of its inputs.
        drops: Whether masks will be drawn.

    Raises:
        ConfigError: A layer is called more than once: its one mask would drop the same numbers again.
    """
    found = {name: m for name, m in network.named_modules() if isinstance(m, MaskedDropout)}
    called: list[nn.Module] = []
    hooks = [layer.register_forward_hook(lambda layer, *_: called.append(layer)) for layer in found.values()]
    with torch.no_grad():
        network(inputs[:2])
    for hook in hooks:
        hook.remove()
    again = [name for name, layer in found.items() if called.count(layer) > 1]
    if drops and again:
        raise ConfigError(
            f"The network calls its dropout layer '{again[0]}' {called.count(found[again[0]])} times.",
            todo="Give every place a dropout layer of its own.",
        )
    return {f"{name}.mask" if name else "mask": module.shape for name, module in found.items()}


def collect_statistics(network: nn.Module) -> dict[str, Tensor]:
    """Take the running statistics that the last training forward produced, by state-dict name."""
    found: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, PureNorm) and module.seen:
            found |= {f"{name}.{leaf}" if name else leaf: value for leaf, value in module.seen.items()}
            module.seen = {}
    return found


def momenta_of(network: nn.Module) -> dict[str, float]:
    """Return the momentum behind every running statistic, by state-dict name."""
    norms = {name: m for name, m in network.named_modules() if isinstance(m, PureNorm) and m.tracks}
    return {
        f"{name}.{leaf}" if name else leaf: norm.momentum
        for name, norm in norms.items()
        for leaf in ("running_mean", "running_var")
    }


def activation_numbers(network: nn.Module, inputs: Tensor) -> int:
    """Count the numbers all leaf modules put out for one sample: the measure for memory budgets."""
    total = 0

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal total
        total += output.numel() if isinstance(output, Tensor) else 0

    leaves = [module for module in network.modules() if not any(True for _ in module.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    try:
        with torch.no_grad():
            network(inputs[:2])
    finally:
        for hook in hooks:
            hook.remove()
    return max(total // min(len(inputs), 2), 1)
