"""Permutations of a spec's groups: sample, apply, compose, invert, thousands at once."""

from dataclasses import dataclass
from functools import lru_cache
from math import gcd, prod

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from weightatlas.errors import SpecError
from weightatlas.runtime import shuffles, stream
from weightatlas.weights.spec import Axis, NetworkSpec, Segment

# One integer tensor `(networks, members)` per group: new[i] = old[perm[i]].
Permutations = tuple[Tensor, ...]

_CHUNK = 1 << 20  # numbers of one chunk of networks: small enough for the cache


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
    device = perms[0].device if perms else None
    return _permute(torch.arange(spec.params, dtype=dtype, device=device).expand(count, -1), perms, spec)


def permute(
    values: Float[Tensor, "networks params"], perms: Permutations, spec: NetworkSpec
) -> Float[Tensor, "networks params"]:
    """Permute networks without changing their functions; gradients flow through.

    Works axis by axis on whole runs of numbers, several times faster than a gather of single
    numbers, and in chunks of networks; tensors that no group touches are copied.

    Args:
        values: Networks as rows.
        perms: One tensor `(networks, members)` per group.
        spec: Their layout.

    Raises:
        SpecError: The permutations do not fit the networks or the groups of the spec.
    """
    count = _check(perms, spec)
    if values.shape[1] != spec.params or (perms and count != values.shape[0]):
        raise SpecError(
            f"There are {values.shape[0]} networks of {values.shape[1]} numbers, but permutations for "
            f"{count} networks of {spec.params}."
        )
    return _permute(values, perms, spec)


def _permute(values: Shaped[Tensor, "networks params"], perms: Permutations, spec: NetworkSpec) -> Tensor:
    """Permute rows of numbers or of indices, a few networks at a time."""
    step = max(1, _CHUNK // max(spec.params, 1))
    starts = range(0, max(values.shape[0], 1), step)
    perms = tuple(perm.int() for perm in perms)
    chunks = []
    for rows in (slice(start, start + step) for start in starts):
        some, block = tuple(perm[rows] for perm in perms), values[rows]
        parts = [(block[:, part.start : part.stop], part) for part in parts_of(spec)]
        pieces = [permute_tensor(own, part, some).reshape(own.shape) for own, part in parts]
        chunks.append(torch.cat(pieces, dim=1) if pieces else block)
    return torch.cat(chunks) if len(chunks) != 1 else chunks[0]


@dataclass(frozen=True)
class Part:
    """Where one tensor of a spec lies and how its axes are cut.

    Args:
        start: Its first number in the flat vector.
        stop: The number after its last.
        shape: Its shape.
        axes: Its axes.
        runs: Per axis, how many entries always travel together.
    """

    start: int
    stop: int
    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    runs: tuple[int, ...]


@lru_cache(maxsize=256)
def parts_of(spec: NetworkSpec) -> tuple[Part, ...]:
    """Lay out the tensors of a spec; made once per spec."""
    found = []
    for tensor, start in zip(spec.tensors, spec.offsets, strict=True):
        runs = tuple(gcd(*(_travel(segment) for segment in axis)) for axis in tensor.axes)
        found.append(Part(start, start + tensor.size, tensor.shape, tensor.axes, runs))
    return tuple(found)


def uses_of(spec: NetworkSpec, group: int) -> list[tuple[int, int]]:
    """List the (tensor, axis) pairs that a group touches."""
    return [
        (index, axis)
        for index, tensor in enumerate(spec.tensors)
        for axis, segments in enumerate(tensor.axes)
        if any(segment.group == group for segment in segments)
    ]


def permute_tensor(
    values: Shaped[Tensor, "networks size"], part: Part, perms: Permutations, skip: int | None = None
) -> Shaped[Tensor, "networks *shape"]:
    """Permute one tensor of several networks along its axes.

    Args:
        values: The numbers of the tensor, a network a row.
        part: Which tensor it is.
        perms: One tensor `(networks, members)` per group.
        skip: An axis that is left as it is, or none.
    """
    values = values.reshape(values.shape[0], *part.shape)
    for axis in range(len(part.axes)):
        if axis != skip:
            values = permute_axis(values, part, perms, axis)
    return values


def permute_axis(
    values: Shaped[Tensor, "networks *shape"], part: Part, perms: Permutations, axis: int
) -> Shaped[Tensor, "networks *shape"]:
    """Permute one tensor of several networks along one axis.

    Args:
        values: The tensor, a network a row.
        part: Which tensor it is.
        perms: One tensor `(networks, members)` per group.
        axis: The axis, counted without that of the networks.
    """
    count, segments = values.shape[0], part.axes[axis]
    if count == 0 or all(segment.group is None for segment in segments):
        return values
    order = axis_order(segments, perms, part.runs[axis])
    outer, size = prod(part.shape[:axis]), order.shape[1]
    base = torch.arange(count * outer, device=order.device, dtype=order.dtype) * size
    index = (order[:, None, :] + base.view(count, outer, 1)).view(-1)
    return values.reshape(len(index), -1).index_select(0, index).view(count, *part.shape)


def axis_order(segments: Axis, perms: Permutations, run: int = 1) -> Int[Tensor, "networks size"]:
    """Order the entries of one axis, in units of `run` entries that travel together."""
    pieces, start = [], 0
    for segment in segments:
        size = segment.size // run
        if segment.group is None:
            piece = torch.arange(size, device=perms[0].device, dtype=perms[0].dtype).expand(len(perms[0]), -1)
        else:
            inner = torch.arange(segment.positions // run, device=perms[0].device, dtype=perms[0].dtype)
            piece = perms[segment.group][:, :, None] * (segment.positions // run) + inner
        pieces.append(piece.reshape(len(perms[0]), size) + start)
        start += size
    return torch.cat(pieces, dim=1) if len(pieces) > 1 else pieces[0]


def _travel(segment: Segment) -> int:
    """Count the neighboring entries of a segment that always stay together."""
    return segment.size if segment.group is None else segment.positions


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
