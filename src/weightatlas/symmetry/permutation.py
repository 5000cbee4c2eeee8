"""Permutations of a spec's groups: sample, apply, compose, invert, thousands at once."""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import SpecError
from weightatlas.runtime import shuffles, stream
from weightatlas.weights.spec import NetworkSpec, Segment, TensorSpec

# One integer tensor `(networks, members)` per group: new[i] = old[perm[i]].
Permutations = tuple[Tensor, ...]

_CHUNK = 1 << 22


def identity(spec: NetworkSpec, count: int, device: torch.device | str = "cpu") -> Permutations:
    """Make permutations that move nothing.

    Args:
        spec: Whose groups.
        count: How many networks.
    """
    return tuple(torch.arange(size, device=device).repeat(count, 1) for size in spec.groups)


def sample(
    spec: NetworkSpec,
    count: int,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Permutations:
    """Draw a random permutation per group and network.

    Example:
        >>> from weightatlas.weights.trace import trace
        >>> spec = trace(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)), (3,))
        >>> [tuple(group.shape) for group in sample(spec, 5)]
        [(5, 4)]

    Args:
        spec: Whose groups.
        count: How many networks.
        generator: Source of randomness, on the CPU or on `device`.
    """
    source = torch.device(device) if generator is None else generator.device
    return tuple(
        torch.rand(count, size, generator=generator, device=source).argsort(dim=1).to(device)
        for size in spec.groups
    )


def sample_by_key(spec: NetworkSpec, keys: Int[Tensor, " networks"]) -> Permutations:
    """Draw a random permutation per group and network; a network's depends on its key alone."""
    return tuple(shuffles(stream(keys, "permutation", group), size) for group, size in enumerate(spec.groups))


def compose(first: Permutations, second: Permutations) -> Permutations:
    """Combine two permutations into one that applies `first`, then `second`."""
    return tuple(a.gather(1, b.long()) for a, b in zip(first, second, strict=True))


def invert(perms: Permutations) -> Permutations:
    """Find the permutations that undo `perms`."""
    return tuple(perm.argsort(dim=1) for perm in perms)


def index_map(
    perms: Permutations, spec: NetworkSpec, dtype: torch.dtype = torch.int64
) -> Int[Tensor, "networks params"]:
    """Write permutations as one gather: `permuted = values.gather(1, index)`.

    Args:
        perms: One tensor `(networks, members)` per group of `spec`.
        spec: The layout.
        dtype: `torch.int32` halves the memory of a map that is kept; gathers need `int64`.

    Raises:
        SpecError: The permutations do not fit the groups of the spec.
    """
    count = _check(perms, spec)
    device = perms[0].device if perms else torch.device("cpu")
    index = torch.empty(count, spec.params, dtype=dtype, device=device)
    for part in _parts(spec):
        block = index[:, part.start : part.start + part.tensor.size]
        block.view(count, *part.tensor.shape).copy_(tensor_index(part, perms, device))
    return index


def permute(
    values: Float[Tensor, "networks params"], perms: Permutations, spec: NetworkSpec
) -> Float[Tensor, "networks params"]:
    """Permute networks without changing their functions; gradients flow through.

    Works tensor by tensor and in chunks of networks, so that no index map of the whole
    matrix is held; tensors that no group touches are copied.

    Args:
        values: Networks as rows.
        perms: One tensor `(networks, members)` per group.
        spec: Their layout.

    Raises:
        SpecError: The permutations do not fit the groups of the spec.
    """
    count = _check(perms, spec)
    if perms and count != values.shape[0]:
        raise SpecError(f"There are {values.shape[0]} networks but permutations for {count}.")
    step = max(1, _CHUNK // max(spec.params, 1))
    chunks = [
        _permute_chunk(values[i : i + step], tuple(perm[i : i + step] for perm in perms), spec)
        for i in range(0, values.shape[0], step)
    ]
    return torch.cat(chunks) if len(chunks) != 1 else chunks[0]


def _permute_chunk(values: Tensor, perms: Permutations, spec: NetworkSpec) -> Tensor:
    """Gather each tensor of a few networks."""
    pieces = []
    for part in _parts(spec):
        if part.moves:
            index = tensor_index(part, perms, values.device)
            pieces.append(values.gather(1, index.reshape(values.shape[0], -1)))
        else:
            pieces.append(values[:, part.start : part.start + part.tensor.size])
    return torch.cat(pieces, dim=1)


@dataclass(frozen=True)
class Part:
    """What is needed to index one tensor of a spec.

    Args:
        tensor: The tensor.
        start: Its first number in the flat vector.
        strides: Distance between neighbors along each axis.
        moves: Whether any group touches it.
    """

    tensor: TensorSpec
    start: int
    strides: tuple[int, ...]
    moves: bool


@lru_cache(maxsize=256)
def _parts(spec: NetworkSpec) -> tuple[Part, ...]:
    """Lay out the tensors of a spec; made once per spec."""
    found = []
    for tensor, start in zip(spec.tensors, spec.offsets, strict=True):
        strides = tuple(prod(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape)))
        moves = any(segment.group is not None for axis in tensor.axes for segment in axis)
        found.append(Part(tensor, start, strides, moves))
    return tuple(found)


def part_of(spec: NetworkSpec, tensor: int) -> Part:
    """Return the layout of one tensor of a spec."""
    return _parts(spec)[tensor]


def tensor_index(
    part: Part, perms: Permutations, device: torch.device, hold: int | None = None
) -> Int[Tensor, "_ *shape"]:
    """Index one tensor in the flat vector; networks may be a single broadcast row.

    Args:
        part: The tensor.
        perms: One tensor `(networks, members)` per group.
        device: Where the result lives.
        hold: An axis that is left as it is, or none.
    """
    rank = len(part.strides)
    total = torch.full((1,) * (rank + 1), part.start, device=device)
    for axis, stride in enumerate(part.strides):
        segments = part.tensor.axes[axis]
        held = axis == hold or all(segment.group is None for segment in segments)
        size = part.tensor.shape[axis]
        order = torch.arange(size, device=device)[None] if held else axis_index(segments, perms)
        shape = (-1, *(size if other == axis else 1 for other in range(rank)))
        total = total + (order * stride).view(shape)
    return total


def axis_index(segments: tuple[Segment, ...], perms: Permutations) -> Int[Tensor, "networks size"]:
    """Index the entries of one axis, members and the positions that travel with them."""
    count, device = perms[0].shape[0], perms[0].device
    pieces, start = [], 0
    for segment in segments:
        if segment.group is None:
            piece = torch.arange(segment.size, device=device).expand(count, -1)
        else:
            inner = torch.arange(segment.positions, device=device)
            piece = perms[segment.group].long()[:, :, None] * segment.positions + inner
        pieces.append(piece.reshape(count, segment.size) + start)
        start += segment.size
    return torch.cat(pieces, dim=1) if len(pieces) > 1 else pieces[0]


def _check(perms: Permutations, spec: NetworkSpec) -> int:
    """Compare permutations with the groups of a spec; return the number of networks."""
    sizes = tuple(perm.shape[-1] for perm in perms)
    if sizes != spec.groups or len({perm.shape[0] for perm in perms}) > 1:
        shapes = [tuple(perm.shape) for perm in perms]
        raise SpecError(
            f"Permutations of shapes {shapes} do not fit groups of sizes {spec.groups}.",
            todo="Pass one tensor (networks, members) per group of the spec.",
        )
    return perms[0].shape[0] if perms else 1
