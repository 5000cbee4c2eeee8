"""How many code numbers each layer gets."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import ConfigError
from weightatlas.weights.spec import NetworkSpec


@dataclass(frozen=True, slots=True)
class CodedLayer:
    """A dense layer or plain convolution, one row of numbers per neuron.

    Args:
        weight: Name of its weight.
        bias: Name of its bias; empty if it has none.
        shape: Shape of the weight.
        rows: Neurons or output channels.
        columns: Numbers per row, bias included.
    """

    weight: str
    bias: str
    shape: tuple[int, ...]
    rows: int
    columns: int

    @property
    def names(self) -> tuple[str, ...]:
        return (self.weight, self.bias) if self.bias else (self.weight,)

    def read(self, state: dict[str, Tensor]) -> Float[Tensor, "networks rows columns"]:
        """Join weight and bias to one row per neuron."""
        weight = state[self.weight].flatten(2)
        return torch.cat([weight, state[self.bias][:, :, None]], dim=2) if self.bias else weight

    def write(self, state: dict[str, Tensor], rows: Float[Tensor, "networks rows columns"]) -> None:
        """Cut rows into weight and bias."""
        state[self.weight] = (rows[:, :, :-1] if self.bias else rows).reshape(len(rows), *self.shape)
        if self.bias:
            state[self.bias] = rows[:, :, -1]


def coded_layers(spec: NetworkSpec) -> tuple[CodedLayer, ...]:
    """List the dense layers and ungrouped convolutions of a traced spec, in execution order.

    A tensor that is used twice, or under two names, is left to be kept as it is.
    """
    uses = [index for node in spec.graph or () for index in node.tensors]
    found = []
    for node in spec.graph or ():
        plain = node.op in ("linear", "conv2d", "conv") and node.attributes.get("groups", 1) == 1
        tensors = [spec.tensors[index] for index in node.tensors]
        alone = all(uses.count(i) == 1 and not spec.tensors[i].aliases for i in node.tensors)
        weight = next((t for t in tensors if t.role == "weight"), None)
        if not plain or not alone or weight is None or len(weight.shape) not in (2, 4):
            continue
        bias = next((t.name for t in tensors if t.role == "bias"), "")
        columns = weight.size // weight.rows + bool(bias)
        found.append(CodedLayer(weight.name, bias, weight.shape, weight.rows, columns))
    return tuple(found)


def even_ranks(layers: tuple[CodedLayer, ...], budget: int) -> list[int]:
    """Give every neuron of the network the same number of code numbers, as many as the budget allows.

    Raises:
        ConfigError: The budget is less than one number per neuron.
    """
    rows = sum(layer.rows for layer in layers)
    if budget < rows:
        raise ConfigError(
            f"A code of {budget} numbers is less than one per neuron ({rows} neurons).",
            todo="Lower the ratio.",
        )
    rank = 1
    while sum(layer.rows * min(rank + 1, layer.columns) for layer in layers) <= budget:
        rank += 1
        if rank >= max(layer.columns for layer in layers):
            break
    return [min(rank, layer.columns) for layer in layers]


def share_ranks(layers: tuple[CodedLayer, ...], saved: list[Float[Tensor, " _"]], budget: int) -> list[int]:
    """Spend the budget where a number saves most of a layer's output energy.

    One more rank costs a layer as many numbers as it has neurons, and saves the share of output
    energy on its next eigenvector; shares are relative, so that layers of any scale compete fairly.

    Args:
        layers: The coded layers.
        saved: Mean share of output energy on each eigenvector, largest eigenvalue first.
        budget: Numbers to spend.
    """
    even_ranks(layers, budget)  # refuses impossible budgets
    ranks = [1] * len(layers)
    left = budget - sum(layer.rows for layer in layers)
    # A rank is worth at least what the next ones save on average: eigenvalue order is not output order.
    worth = [torch.flip(torch.cummax(torch.flip(s, [0]), 0).values, [0]).tolist() for s in saved]
    while True:
        open_ = [
            (worth[i][ranks[i]] / layer.rows, -i)
            for i, layer in enumerate(layers)
            if ranks[i] < layer.columns and layer.rows <= left
        ]
        if not open_:
            return ranks
        best = -max(open_)[1]
        ranks[best] += 1
        left -= layers[best].rows
