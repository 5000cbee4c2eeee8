"""Tensors cut into blocks of permuted axes and features, and which numbers share an orbit."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import SpecError
from weightatlas.weights.spec import NetworkSpec, Segment

# One permuted axis of a block: (slot, members). A slot is a permutation group, or an end.
Key = tuple[str, int, int]
# Layouts are kept, so they must not follow a `with torch.device(...)` around the first use.
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Block:
    """A tensor, or a part of one, whose every axis either is permuted or counts as features.

    Kernel taps, positions of a flatten boundary and fixed axes are features; a tensor whose axes have
    several segments (concatenations, fused projections) becomes several blocks.

    Args:
        tensor: Index of the tensor it is cut from.
        slots: Slot of each permuted axis, in order.
        sizes: Members of each permuted axis.
        features: Numbers per combination of members.
    """

    tensor: int
    slots: tuple[int, ...]
    sizes: tuple[int, ...]
    features: int

    @property
    def axes(self) -> int:
        return len(self.slots)


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """How a spec is cut into blocks.

    Args:
        blocks: The blocks.
        sizes: Members of each slot; permutation groups first, then ends.
        groups: How many slots are permutation groups; the others are ends (inputs, outputs).
        uses: Per slot, the (block, axis) pairs that carry it: blocks with this axis only, then blocks whose
            first axis it is, then the others.
        leading: Blocks in the order in which they first appear in `uses`, then those without axes.
        order: Flat parameter index of each number, block after block, shape `(params,)`.
        places: Layer, input index and output index of each number in `order`, as numbers in [-1, 1];
            zero where it has no fixed input or output index, shape `(3, params)`.
    """

    blocks: tuple[Block, ...]
    sizes: tuple[int, ...]
    groups: int
    uses: tuple[tuple[tuple[int, int], ...], ...]
    leading: tuple[int, ...]
    order: Int[Tensor, " params"]
    places: Float[Tensor, "3 params"]

    def split(self, ordered: Float[Tensor, "networks params *rest"]) -> list[Tensor]:
        """Cut numbers in block order into `(networks, *sizes, features, *rest)` per block."""
        counts = [prod(block.sizes) * block.features for block in self.blocks]
        parts = ordered.split(counts, dim=1)
        rest = ordered.shape[2:]
        return [
            part.reshape(len(ordered), *block.sizes, block.features, *rest)
            for part, block in zip(parts, self.blocks, strict=True)
        ]


@lru_cache(maxsize=64)
def layout_of(spec: NetworkSpec, ends: bool = False) -> Layout:
    """Cut a spec into blocks, once per spec.

    Args:
        spec: A spec with permutation groups; trace one from code if it has none.
        ends: Also treat input and output neurons as permuted (NP); otherwise they are features (HNP).

    Raises:
        SpecError: The spec knows no permutation, so everything would be one dense layer.
    """
    if not spec.groups:
        raise SpecError(
            "The spec knows no permutation group, so nothing is shared between neurons.",
            todo="Use a spec traced from the network's code: spec_of(network, input_shape).",
        )
    keys: dict[Key, int] = {("group", group, 0): group for group in range(len(spec.groups))}
    sizes, blocks, orders, places = list(spec.groups), [], [], []
    for index in range(len(spec.tensors)):
        for slots, order, place in _cut(spec, index, ends):
            for key, size in slots:
                if key not in keys:
                    keys[key] = len(sizes)
                    sizes.append(size)
            members = tuple(size for _, size in slots)
            blocks.append(
                Block(index, tuple(keys[key] for key, _ in slots), members, order.numel() // prod(members))
            )
            orders.append(order.flatten())
            places.append(place.reshape(3, -1))
    uses = tuple(_uses(blocks, slot) for slot in range(len(sizes)))
    leading = [block for pairs in uses for block, axis in pairs if axis == 0]
    leading += [index for index, block in enumerate(blocks) if not block.axes]
    return Layout(
        blocks=tuple(blocks),
        sizes=tuple(sizes),
        groups=len(spec.groups),
        uses=uses,
        leading=tuple(leading),
        order=torch.cat(orders),
        places=torch.cat(places, dim=1),
    )


def _uses(blocks: list[Block], slot: int) -> tuple[tuple[int, int], ...]:
    """List where a slot is used, in the order `Layout` states."""
    found = [(b, axis) for b, block in enumerate(blocks) for axis, s in enumerate(block.slots) if s == slot]
    return tuple(sorted(found, key=lambda use: (use[1] > 0, blocks[use[0]].axes > 1)))


@lru_cache(maxsize=64)
def orbits(spec: NetworkSpec) -> Int[Tensor, " params"]:
    """Number the orbit of every parameter: two share one if some permutation exchanges them.

    Statistics per orbit are the finest that commute with every permutation.
    """
    found = torch.empty(spec.params, dtype=torch.int64, device=_CPU)
    start = position = 0
    layout = layout_of(spec)
    for block in layout.blocks:
        count = prod(block.sizes)
        ids = torch.arange(position, position + block.features, device=_CPU).repeat(count)
        found[layout.order[start : start + len(ids)]] = ids
        start, position = start + len(ids), position + block.features
    return found


def orbit_scaling(
    values: Float[Tensor, "networks params"], spec: NetworkSpec, floor: float = 1e-5
) -> tuple[Float[Tensor, " params"], Float[Tensor, " params"]]:
    """Fit mean and standard deviation per orbit, spread out over the parameters.

    Args:
        values: Training networks as rows.
        spec: Their layout.
        floor: Smaller standard deviations become 1, as in the released NFN code.
    """
    ids = orbits(spec).to(values.device)
    count = torch.bincount(ids).to(torch.float64)
    exact = values.double()
    mean = torch.zeros_like(count).index_add_(0, ids, exact.mean(0)) / count
    spread = torch.zeros_like(count).index_add_(0, ids, (exact - mean[ids]).square().mean(0)) / count
    std = spread.sqrt()
    std = torch.where(std < floor, torch.ones_like(std), std)
    return mean[ids].to(values.dtype), std[ids].to(values.dtype)


def _cut(
    spec: NetworkSpec, index: int, ends: bool
) -> list[tuple[tuple[tuple[Key, int], ...], Tensor, Tensor]]:
    """Cut one tensor: slots of permuted axes, flat indices and places `(*sizes, features)` per block."""
    tensor = spec.tensors[index]
    start = spec.offsets[index]
    flat = torch.arange(start, start + tensor.size, device=_CPU).reshape(tensor.shape)
    depth = 2.0 * tensor.layer / max(len(spec.layers) - 1, 1) - 1.0
    found = []
    for segments in product(*(list(_starts(axis)) for axis in tensor.axes)):
        part, places = flat, _places(tensor.shape, segments, depth)
        slots: list[tuple[Key, int]] = []
        shape: list[int] = []
        moved: list[int] = []
        for axis, (start, segment) in enumerate(segments):
            part = part.narrow(axis, start, segment.size)
            key = _key(spec, index, axis, start, segment, ends)
            if key is not None:
                slots.append((key, segment.members))
                moved.append(len(shape))
            shape += [segment.members, segment.positions]
        kept = [axis for axis in range(len(shape)) if axis not in moved]
        order = part.reshape(shape).permute((*moved, *kept))
        place = places.reshape(3, *shape).permute(0, *(a + 1 for a in moved), *(a + 1 for a in kept))
        found.append((tuple(slots), order, place))
    return found


def _starts(axis: tuple[Segment, ...]) -> list[tuple[int, Segment]]:
    """Pair each segment of an axis with its first entry."""
    starts, total = [], 0
    for segment in axis:
        starts.append((total, segment))
        total += segment.size
    return starts


def _key(spec: NetworkSpec, index: int, axis: int, start: int, segment: Segment, ends: bool) -> Key | None:
    """Name the slot of a segment; none if it counts as features."""
    if segment.group is not None:
        return ("group", segment.group, 0)
    tensor = spec.tensors[index]
    if not ends or axis > 1 or tensor.role not in ("weight", "bias"):
        return None
    return (("out", "in")[axis], tensor.layer, start)


def _places(shape: tuple[int, ...], segments: tuple[tuple[int, Segment], ...], depth: float) -> Tensor:
    """Write down layer, input index and output index of every number of a part of a tensor."""
    size = tuple(segment.size for _, segment in segments)
    places = torch.zeros(3, *size, device=_CPU)
    places[0] = depth
    for axis, row in ((1, 1), (0, 2)):
        if axis >= len(size) or segments[axis][1].group is not None:
            continue
        start, segment = segments[axis]
        line = torch.linspace(-1.0, 1.0, shape[axis], device=_CPU)[start : start + segment.size]
        places[row] += line.reshape(-1, *(1,) * (len(size) - 1 - axis))
    return places
