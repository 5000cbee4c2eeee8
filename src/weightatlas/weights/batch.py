"""Weights in memory: networks of one spec as rows, and groups of them as a batch."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import SpecError
from weightatlas.weights.spec import NetworkSpec


@dataclass(frozen=True, slots=True)
class Weights:
    """Networks of one spec, a row each.

    Args:
        values: Float32 numbers, shape `(networks, params)`.
        spec: The layout all rows share.
        rows: Where each row stands in the caller's order, shape `(networks,)`.
    """

    values: Float[Tensor, "networks params"]
    spec: NetworkSpec
    rows: Int[Tensor, " networks"]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != self.spec.params:
            raise SpecError(
                f"Weights have shape {tuple(self.values.shape)}, "
                f"the spec says (networks, {self.spec.params})."
            )

    def __len__(self) -> int:
        return self.values.shape[0]


def weights_of(values: Float[Tensor, "networks params"], spec: NetworkSpec) -> Weights:
    """Wrap a matrix of networks that is already in the caller's order."""
    return Weights(values, spec, torch.arange(values.shape[0]))


@dataclass(frozen=True, slots=True)
class Batch:
    """Groups of networks, one spec a group, with their place in the caller's order.

    Args:
        groups: One `Weights` per spec; their `rows` together are `0 .. networks - 1`.
        labels: Property name -> numbers in the caller's order, shape `(networks,)`.
    """

    groups: tuple[Weights, ...]
    labels: dict[str, Float[Tensor, " networks"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)

    def __iter__(self) -> Iterator[Weights]:
        return iter(self.groups)

    def join(self, parts: list[Float[Tensor, "_ *rest"]]) -> Float[Tensor, "networks *rest"]:
        """Put per-group results (one per group, rows in group order) into the caller's order."""
        joined = torch.empty(len(self), *parts[0].shape[1:], dtype=parts[0].dtype, device=parts[0].device)
        for group, part in zip(self.groups, parts, strict=True):
            joined[group.rows.to(joined.device)] = part
        return joined


def batch_of(values: Float[Tensor, "networks params"], spec: NetworkSpec, **labels: Tensor) -> Batch:
    """Make a batch of networks that share one spec."""
    return Batch((weights_of(values, spec),), labels)
