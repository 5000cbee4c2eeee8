"""What several processes cannot train as one would, found before they start."""

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from weightatlas.encoders.base import Autoencoder, Encoder
from weightatlas.fit.feed import Order
from weightatlas.objectives.composite import Composite
from weightatlas.processes import Processes
from weightatlas.weights.batch import Batch, weights_of


def joint_problems(
    encoder: Encoder, batch: Batch, loss: Composite, order: Order, processes: Processes
) -> list[str]:
    """List why the result would depend on the number of processes; nothing for one process.

    Args:
        encoder: What is trained.
        batch: Training networks.
        loss: Its loss.
        order: The networks of every step.
        processes: Those that train together.
    """
    if processes.count == 1 or not len(batch):
        return []
    problems = [
        f"the term '{name}' does not say how processes compute it together (`joins`)"
        for name, term in zip(loss.terms, loss.objectives, strict=True)
        if term.joins is None
    ]
    if order.least < processes.count:
        problems.append(
            f"a step of {order.least} networks cannot be shared by {processes.count} processes: "
            "start fewer, or raise batch"
        )
    found = _Watch()
    _try(encoder, batch, loss, found)
    return problems + [
        f"the encoder '{encoder.name}' {what}, so that several processes would not train as one does; {todo}"
        for what, todo in found.seen.items()
    ]


class _Watch(TorchDispatchMode):
    """Notes operations whose result for a network depends on the batch it is in."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        drawn = torch.Tag.nondeterministic_seeded in func.tags and kwargs.get("generator") is None
        if drawn and "attention" not in func.name():  # fused attention is tagged also if it drops nothing
            self.seen["draws random numbers in training (dropout)"] = "set dropout to 0"
        if "batch_norm" in func.name():
            self.seen["normalizes over the networks of a batch"] = "use one process"
        return func(*args, **kwargs)


def _try(encoder: Encoder, batch: Batch, loss: Composite, watch: _Watch) -> None:
    """Send two networks through encoder and head as in training, and leave both as they were."""
    group = batch.groups[0]
    two = weights_of(group.values[:2], group.spec)
    modules: tuple[nn.Module, ...] = (encoder.cpu(), loss)
    kept = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    modes = [module.training for module in modules]
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), watch:
            encoder.train()
            loss.train()
            whole = isinstance(encoder, Autoencoder) and encoder.decodes_weights
            encoded = encoder(two)[0] if whole else encoder.encode(two)
            if loss.head is not None:
                loss.head(encoded.embedding)
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
