"""Ways to run many networks of one function: the same numbers, different speed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from weightatlas.population.prepare import collect_statistics, prepare
from weightatlas.registry import Registry
from weightatlas.weights.spec import NetworkSpec

Loss = Callable[[Tensor, Tensor], Tensor]
Masks = Mapping[str, Tensor]

engines: "Registry[Engine]" = Registry("population engine")


def cross_entropy(
    outputs: Float[Tensor, "networks batch classes"], labels: Tensor
) -> Float[Tensor, " networks"]:
    """Mean cross-entropy of each network over its batch.

    Args:
        outputs: Logits, shape `(networks, batch, classes)`.
        labels: Class indices, shape `(networks, batch)` or, if shared, `(batch,)`.
    """
    labels = labels.expand(outputs.shape[:2])
    each = F.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view(outputs.shape[:2]).mean(dim=1)


class Engine(ABC):
    """One way to run a population; weights are rows, nothing is remembered between calls.

    Args:
        network: Any module of the function; its own weights are ignored.
        spec: The layout of the rows.
        workers: Threads that `outputs` may use, if the engine can.
    """

    name: ClassVar[str]

    def __init__(self, network: nn.Module, spec: NetworkSpec, workers: int = 1) -> None:
        self.spec, self.workers = spec, workers
        self.network = prepare(network, training=False)
        self.training = prepare(network, training=True)

    @abstractmethod
    def outputs(
        self, weights: Float[Tensor, "networks params"], inputs: Tensor, shared: bool
    ) -> Float[Tensor, "networks queries *rest"]:
        """Run in eval mode, differentiable in weights and inputs."""

    @abstractmethod
    def train_outputs(
        self, weights: Float[Tensor, "networks params"], inputs: Tensor, masks: Masks
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Run in training mode on inputs `(networks, batch, ...)`.

        Args:
            weights: Networks as rows.
            inputs: One batch per network.
            masks: Dropout masks by buffer name, shape `(networks, batch, ...)`.

        Returns:
            Outputs `(networks, batch, ...)` and new running statistics by name, `(networks, ...)`.
        """

    def gradients(
        self,
        weights: Float[Tensor, "networks params"],
        inputs: Tensor,
        labels: Tensor,
        loss: Loss,
        masks: Masks,
    ) -> tuple[Float[Tensor, "networks params"], Float[Tensor, " networks"], dict[str, Tensor]]:
        """Return loss gradients, losses and new running statistics of one training batch per network.

        The gradients may live in a buffer that the next call writes over.
        """
        leaf = weights.detach().requires_grad_(True)
        outputs, statistics = self.train_outputs(leaf, inputs, masks)
        losses = loss(outputs, labels)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        return gradient, losses.detach(), {name: value.detach() for name, value in statistics.items()}


def named(weights: Float[Tensor, "*networks params"], spec: NetworkSpec) -> dict[str, Tensor]:
    """View rows as named tensors in one split, whose backward is one concatenation."""
    parts = weights.split([tensor.size for tensor in spec.tensors], dim=-1)
    leading = weights.shape[:-1]
    return {t.name: part.reshape(*leading, *t.shape) for t, part in zip(spec.tensors, parts, strict=True)}


@engines.register("vmap")
class VmapEngine(Engine):
    """Every operation once for all networks, by `torch.func.vmap`."""

    name = "vmap"

    def outputs(self, weights: Tensor, inputs: Tensor, shared: bool) -> Tensor:
        def one(state: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self.network, state, (x,))

        return vmap(one, in_dims=(0, None if shared else 0))(named(weights, self.spec), inputs)

    def train_outputs(
        self, weights: Tensor, inputs: Tensor, masks: Masks
    ) -> tuple[Tensor, dict[str, Tensor]]:
        def one(state: dict[str, Tensor], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            outputs = functional_call(self.training, state, (x,))
            return outputs, collect_statistics(self.training)

        return vmap(one)({**named(weights, self.spec), **masks}, inputs)


@engines.register("loop")
class LoopEngine(Engine):
    """One network after the other, as plain PyTorch does it."""

    name = "loop"

    def outputs(self, weights: Tensor, inputs: Tensor, shared: bool) -> Tensor:
        rows = [
            functional_call(self.network, named(row, self.spec), (inputs if shared else inputs[index],))
            for index, row in enumerate(weights.unbind(0))
        ]
        return torch.stack(rows)

    def train_outputs(
        self, weights: Tensor, inputs: Tensor, masks: Masks
    ) -> tuple[Tensor, dict[str, Tensor]]:
        rows, statistics = [], []
        for index, row in enumerate(weights.unbind(0)):
            state = {**named(row, self.spec), **{name: mask[index] for name, mask in masks.items()}}
            rows.append(functional_call(self.training, state, (inputs[index],)))
            statistics.append(collect_statistics(self.training))
        return torch.stack(rows), {name: torch.stack([s[name] for s in statistics]) for name in statistics[0]}

    def gradients(
        self, weights: Tensor, inputs: Tensor, labels: Tensor, loss: Loss, masks: Masks
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        parts = [
            super(LoopEngine, self).gradients(
                weights[i : i + 1], inputs[i : i + 1], labels[i : i + 1], loss, _row(masks, i)
            )
            for i in range(len(weights))
        ]
        statistics = {name: torch.cat([part[2][name] for part in parts]) for name in parts[0][2]}
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]), statistics


def _row(masks: Masks, index: int) -> Masks:
    return {name: mask[index : index + 1] for name, mask in masks.items()}
