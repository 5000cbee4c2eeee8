"""The straightforward way to train a population: one network after the other in plain PyTorch.

Written as well as a plain loop can be: data as tensors in memory, one shuffle per epoch, no loader,
the foreach optimizer, gradients freed instead of zeroed, no metrics on the way.
"""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PlainLoop:
    """Networks that are trained one after the other, an epoch at a time.

    Args:
        network: The architecture.
        count: How many networks to train.
        inputs: Training images, shape `(images, ...)`.
        labels: Their classes.
        batch: Images per step.
        loss: Of outputs and labels.
    """

    def __init__(
        self,
        network: nn.Module,
        count: int,
        inputs: Tensor,
        labels: Tensor,
        batch: int,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    ) -> None:
        self.networks = [copy.deepcopy(network).train() for _ in range(count)]
        self.optimizers = [torch.optim.Adam(n.parameters(), lr=1e-3, foreach=True) for n in self.networks]
        self.inputs, self.labels, self.batch, self.loss = inputs, labels, batch, loss

    def epoch(self) -> None:
        """Train every network for one epoch."""
        for network, optimizer in zip(self.networks, self.optimizers, strict=True):
            for index in self._batches():
                optimizer.zero_grad(set_to_none=True)
                self.loss(network(self.inputs[index]), self.labels[index]).backward()
                optimizer.step()

    def _batches(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.inputs))
        return (index for index in order.split(self.batch) if len(index) == self.batch)
