"""Whether a network draws random numbers of its own while it trains, and where."""

import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from weightatlas.errors import ConfigError

_TORCH = str(Path(torch.__file__).parent)


class _Watch(TorchDispatchMode):
    """Notes in which module the first random numbers are drawn, and by which line of code."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.place, self.line = "", ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not self.place and torch.Tag.nondeterministic_seeded in func.tags:
            self.place = self.inside[-1]
            self.line = _line_of_user()
        return func(*args, **(kwargs or {}))


def refuse_own_randomness(network: nn.Module, inputs: Tensor) -> None:
    """Run a network in training mode once, and refuse it if it draws random numbers.

    Such numbers would come from the generator that all networks share: a network would depend on its
    companions, and no run could be repeated.

    Args:
        network: A prepared network in training mode, whose dropout layers take masks.
        inputs: Some of its inputs.

    Raises:
        ConfigError: It calls `F.dropout`, or anything else that is random.
    """
    watch, hooks = _Watch(), []
    for name, module in network.named_modules():
        label = f"layer '{name}' ({type(module).__name__})" if name else type(module).__name__
        hooks.append(module.register_forward_pre_hook(_entering(watch.inside, label)))
        hooks.append(module.register_forward_hook(lambda *_: watch.inside.pop() and None))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), watch:
            network(torch.cat([inputs[:1], inputs[-1:]]))  # norms need two
    finally:
        for hook in hooks:
            hook.remove()
    if watch.place:
        raise ConfigError(
            f"The network draws random numbers of its own while it trains: in {watch.place}.",
            where=watch.line,
            todo="Use layers nn.Dropout in place of F.dropout: their masks are drawn from every network's key"
            " at the rate of its run. Set the rates of other random layers to 0.",
        )


def _line_of_user() -> str:
    """Name the innermost line between the call of the network and torch; empty if torch stands behind it."""
    frames = traceback.extract_stack()
    start = max(place for place, frame in enumerate(frames) if frame.name == refuse_own_randomness.__name__)
    inner = [frame.filename.startswith(_TORCH) for frame in frames[start + 1 :]]
    end = start + 1 + max((place for place, of_torch in enumerate(inner) if of_torch), default=0)
    own = [frame for frame in frames[start + 1 : end] if not frame.filename.startswith(_TORCH)]
    return f"{own[-1].filename}, line {own[-1].lineno}: {own[-1].line}" if own else ""


def _entering(inside: list[str], label: str) -> Callable[..., None]:
    return partial(lambda own, *_: inside.append(own), label)
