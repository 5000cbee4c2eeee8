"""NetworkSpec: what a network is, without its numbers."""

import hashlib
import json
from functools import cached_property
from math import prod
from typing import Any, Literal

import torch
from jaxtyping import Bool
from pydantic import model_validator
from torch import Tensor

from weightatlas.config import Config

Role = Literal[
    "weight",
    "bias",
    "norm_scale",
    "norm_shift",
    "running_mean",
    "running_var",
    "embedding",
    "position",
    "other",
]


class Segment(Config):
    """A run of an axis whose members move together under permutation.

    Entry `member * positions + position` belongs to `member`. A flatten boundary of 15 channels
    with 2 x 2 positions is `Segment(group=g, members=15, positions=4)`; attention heads of width 8
    are `Segment(group=h, members=heads, positions=8)`.

    Args:
        group: Permutation group that moves the members, or none if they are fixed.
        members: How many members the run has.
        positions: Consecutive entries that travel with each member.
    """

    group: int | None = None
    members: int
    positions: int = 1

    @property
    def size(self) -> int:
        return self.members * self.positions


Axis = tuple[Segment, ...]

# All that a function id is made of, in the order it is hashed: names, dtypes, symmetries, the grouping into
# layers, and which tensors are trained take no part. Ids stand in zoos on disk, so this list only ever grows
# by fields that are left out while they have their default.
LAYOUT_FIELDS = ("shape", "role")
NODE_FIELDS = ("op", "inputs", "attributes", "tensors")


class TensorSpec(Config):
    """One tensor of a network: its name, shape, role and how its axes may be permuted.

    Args:
        name: Key in the state dict; not part of any id.
        shape: Sizes of its axes.
        role: What the tensor does.
        axes: One tuple of segments per axis, in order; their sizes add up to the axis.
        layer: Index of the layer it belongs to; a layer's weight and bias share it.
        trainable: False for buffers and frozen tensors.
        aliases: Other names under which the same storage appears.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    axes: tuple[Axis, ...]
    layer: int
    trainable: bool = True
    aliases: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def rows(self) -> int:
        """Entries of the first axis: output neurons or channels."""
        return self.shape[0] if self.shape else 1

    @model_validator(mode="after")
    def _axes_fit(self) -> "TensorSpec":
        sizes = tuple(sum(segment.size for segment in axis) for axis in self.axes)
        if sizes != self.shape:
            raise ValueError(f"axes of '{self.name}' add up to {sizes}, the shape is {self.shape}")
        return self


class Node(Config):
    """One operation of the layer graph.

    Args:
        op: Name of the operation ("conv", "linear", "batch_norm", "relu", "add", "flatten", ...).
        inputs: Indices of the nodes whose outputs it reads, in order.
        attributes: Stride, padding, epsilon and the like; plain JSON values.
        tensors: Indices into `NetworkSpec.tensors`, in the order the operation takes them.
    """

    op: str
    inputs: tuple[int, ...] = ()
    attributes: dict[str, Any] = {}
    tensors: tuple[int, ...] = ()


class NetworkSpec(Config):
    """The layout and the function of a network, without its numbers.

    Example:
        >>> fixed = lambda n: (Segment(members=n),)
        >>> axes = fixed(2), fixed(3)
        >>> weight = TensorSpec(name="0.weight", shape=(2, 3), role="weight", axes=axes, layer=0)
        >>> NetworkSpec(tensors=(weight,)).params
        6

    Args:
        tensors: Floating tensors in state-dict order, aliases once.
        groups: Size of each permutation group; a segment's `group` is an index into it.
        graph: Operations in execution order, or none if the spec was inferred from a bare state dict.
        input_shape: Shape of one input without the batch axis, or none if unknown.
    """

    tensors: tuple[TensorSpec, ...]
    groups: tuple[int, ...] = ()
    graph: tuple[Node, ...] | None = None
    input_shape: tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _segments_fit_groups(self) -> "NetworkSpec":
        for tensor in self.tensors:
            for segment in (segment for axis in tensor.axes for segment in axis):
                if segment.group is not None and self.groups[segment.group] != segment.members:
                    raise ValueError(
                        f"'{tensor.name}' has {segment.members} members of group {segment.group}, "
                        f"which has {self.groups[segment.group]}"
                    )
        return self

    @cached_property
    def params(self) -> int:
        """Numbers in one network: floating parameters and floating buffers."""
        return sum(tensor.size for tensor in self.tensors)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Position of each tensor's first number in the flat vector."""
        offsets, total = [], 0
        for tensor in self.tensors:
            offsets.append(total)
            total += tensor.size
        return tuple(offsets)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Range of each tensor in the flat vector, by name."""
        return {
            tensor.name: slice(start, start + tensor.size)
            for tensor, start in zip(self.tensors, self.offsets, strict=True)
        }

    @cached_property
    def layers(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the tensors of each layer, in layer order."""
        found: dict[int, list[int]] = {}
        for index, tensor in enumerate(self.tensors):
            found.setdefault(tensor.layer, []).append(index)
        return tuple(tuple(found[layer]) for layer in sorted(found))

    @cached_property
    def trainable(self) -> Bool[Tensor, " params"]:
        """Mask of the numbers that optimizers and weight decay may touch."""
        return torch.cat([torch.full((tensor.size,), tensor.trainable) for tensor in self.tensors])

    @cached_property
    def layout_id(self) -> str:
        """Id of the ordered (shape, role) list: what fixed-layout encoders compare."""
        return _digest([[getattr(tensor, name) for name in LAYOUT_FIELDS] for tensor in self.tensors])

    @cached_property
    def function_id(self) -> str | None:
        """Id of layout, graph and input shape: what is needed to execute; none if only inferred."""
        if self.graph is None:
            return None
        nodes = [[getattr(node, name) for name in NODE_FIELDS] for node in self.graph]
        aliases = [len(tensor.aliases) for tensor in self.tensors]
        return _digest([self.layout_id, nodes, aliases, self.input_shape or ()])

    def __eq__(self, other: object) -> bool:
        """Compare what the spec says; derived values such as the tensor `trainable` take no part."""
        if not isinstance(other, NetworkSpec):
            return NotImplemented
        return self is other or all(
            getattr(self, name) == getattr(other, name) for name in type(self).model_fields
        )

    def __hash__(self) -> int:
        return hash((self.layout_id, self.function_id, self.groups))

    def __repr__(self) -> str:
        return (
            f"NetworkSpec({len(self.tensors)} tensors, {self.params:,} parameters, "
            f"{len(self.groups)} permutation groups, layout {self.layout_id[:8]})"
        )

    __str__ = __repr__


def _digest(value: object) -> str:
    """Hash JSON-like data to 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
