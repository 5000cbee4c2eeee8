"""Bring many networks into the unit order and signs of one reference."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.relate.assignment import assign
from weightatlas.symmetry.permutation import (
    Permutations,
    identity,
    parts_of,
    permute,
    permute_axis,
    uses_of,
)
from weightatlas.symmetry.scalings import Scaling, scalings_of
from weightatlas.weights.spec import NetworkSpec

_SWEEPS = 6
_WORTH = 0.01  # share of what is missing to a copy that a sweep must gain, or it was the last
_CHUNK = 1 << 25  # numbers of one chunk of networks, their matrices of gains included


@dataclass
class Aligned:
    """Networks in the order of a reference.

    Args:
        values: Networks as rows, permuted and with flipped signs.
        perms: Permutations that were applied first, one tensor per group.
        signs: Signs that were applied next, one tensor `(networks, members)` per group.
    """

    values: Float[Tensor, "networks params"]
    perms: Permutations
    signs: tuple[Tensor, ...]

    def rows(self, rows: slice) -> "Aligned":
        """Choose networks."""
        return Aligned(
            self.values[rows], tuple(p[rows] for p in self.perms), tuple(s[rows] for s in self.signs)
        )


@dataclass(frozen=True)
class Slab:
    """A tensor axis that one group moves as a whole.

    Args:
        tensor: Index of the tensor.
        axis: The axis.
        early: Whether all other groups of the tensor come before this one.
    """

    tensor: int
    axis: int
    early: bool


@lru_cache(maxsize=256)
def slabs_of(spec: NetworkSpec) -> tuple[tuple[Slab, ...], ...]:
    """List per group the weight axes it moves as a whole: what matching looks at.

    Args:
        spec: The layout.
    """
    found: list[tuple[Slab, ...]] = []
    for group in range(len(spec.groups)):
        own = []
        for index, axis in uses_of(spec, group):
            tensor = spec.tensors[index]
            others = [s.group for i, old in enumerate(tensor.axes) if i != axis for s in old]
            early = all(other is None or other < group for other in others)
            if tensor.role in ("weight", "embedding") and len(tensor.axes[axis]) == 1:
                own.append(Slab(index, axis, early))
        found.append(tuple(own))
    return tuple(found)


def slab(
    values: Float[Tensor, "networks params"], spec: NetworkSpec, where: Slab
) -> Float[Tensor, "networks members rest"]:
    """View a tensor of all networks with the members of one axis first."""
    tensor, start = spec.tensors[where.tensor], spec.offsets[where.tensor]
    block = values[:, start : start + tensor.size].reshape(len(values), *tensor.shape)
    return _first(block, where, tensor.axes[where.axis][0].members)


def _first(block: Float[Tensor, "networks ..."], where: Slab, members: int) -> Tensor:
    rest = block.shape[1:].numel() // members
    return block.movedim(where.axis + 1, 1).reshape(len(block), members, rest)


def align(
    values: Float[Tensor, "networks params"],
    reference: Float[Tensor, " params"],
    spec: NetworkSpec,
    flips: NetworkSpec | None = None,
) -> Aligned:
    """Match the units of every network to those of a reference.

    Weight matching (Git Re-Basin, algorithm 1) on tensors of equal norm, with signs where the activation
    is odd: an assignment then counts the size of an inner product, and its sign becomes the unit's. Starts
    from the better of the stored order and a pass from input to output that looks only at weights whose
    other axes are in order already. A network is left alone when a sweep over its groups gained less than
    a hundredth of what it lacks to a copy: strangers would go on for long and end no more alike.

    Args:
        values: Networks as rows.
        reference: One network.
        spec: Their layout.
        flips: The layout with a graph that says which signs are free; none are otherwise.
    """
    if not spec.groups:
        return Aligned(values, (), ())
    free = _flippable(flips) if flips is not None else frozenset()
    work = _Work(_blocks(reference[None], spec), spec, free)
    step = max(1, _CHUNK // max(spec.params + max(spec.groups, default=0) ** 2, 1))
    chunks = [_align(values[i : i + step], work) for i in range(0, max(len(values), 1), step)]
    perms, signs = (tuple(map(torch.cat, zip(*both, strict=True))) for both in zip(*chunks, strict=True))
    moved = permute(values, perms, spec)
    for group in sorted(free):
        moved = flipped(moved, spec, group, signs[group])
    return Aligned(moved, perms, signs)


def _align(
    values: Float[Tensor, "networks params"], work: "_Work"
) -> tuple[Permutations, tuple[Tensor, ...]]:
    """Find permutations and signs of a few networks."""
    spec = work.spec
    ones = tuple(values.new_ones(len(values), size) for size in spec.groups)
    best = _Position(_blocks(values, spec), identity(spec, len(values), values.device), ones)
    score = work.closeness(best)
    work.improve(best, score, torch.arange(len(values)), early=True)
    rows = torch.arange(len(values))
    for _ in range(_SWEEPS):
        if not len(rows):
            break
        missing = work.full - score[rows]
        gained = work.improve(best, score, rows, early=False)
        rows = rows[gained > _WORTH * missing]
    return best.perms, best.signs


@lru_cache(maxsize=256)
def _looks(spec: NetworkSpec) -> dict[int, int]:
    """How many groups look at each tensor that any group looks at."""
    found: dict[int, int] = {}
    for where in (where for group in slabs_of(spec) for where in group):
        found[where.tensor] = found.get(where.tensor, 0) + 1
    return found


def _blocks(values: Float[Tensor, "networks params"], spec: NetworkSpec) -> dict[int, Tensor]:
    """Tensors that matching looks at, each of norm one in every network."""
    found = {}
    for index in _looks(spec):
        tensor, start = spec.tensors[index], spec.offsets[index]
        flat = values[:, start : start + tensor.size]
        found[index] = (flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-20)).view(-1, *tensor.shape)
    return found


@dataclass
class _Position:
    """How far networks have been moved: their tensors, and the permutations and signs that led there."""

    blocks: dict[int, Tensor]
    perms: Permutations
    signs: tuple[Tensor, ...]

    def rows(self, rows: Tensor) -> "_Position":
        """Choose networks."""
        some = {index: block[rows] for index, block in self.blocks.items()}
        return _Position(some, tuple(p[rows] for p in self.perms), tuple(s[rows] for s in self.signs))

    def put(self, rows: Tensor, other: "_Position") -> None:
        """Replace networks."""
        for index, block in other.blocks.items():
            self.blocks[index][rows] = block
        for own, new in zip((*self.perms, *self.signs), (*other.perms, *other.signs), strict=True):
            own[rows] = new


@dataclass(frozen=True)
class _Work:
    """What networks are matched to."""

    reference: dict[int, Tensor]
    spec: NetworkSpec
    free: frozenset[int]

    @property
    def full(self) -> float:
        """Closeness of copies."""
        return float(sum(_looks(self.spec).values()))

    def closeness(self, position: _Position) -> Float[Tensor, " networks"]:
        """Sum the inner products of tensors of norm one, each as often as groups look at it."""
        total = torch.zeros(len(position.perms[0]))
        for index, times in _looks(self.spec).items():
            found = position.blocks[index].flatten(1) @ self.reference[index].flatten()
            total = total.to(found) + times * found
        return total

    def improve(self, best: _Position, score: Tensor, rows: Tensor, early: bool) -> Tensor:
        """Reassign every group of some networks once, in order; keep what came closer, return by how much."""
        now = best.rows(rows)
        for group, slabs in enumerate(slabs_of(self.spec)):
            chosen = [where for where in slabs if where.early or not early]
            if chosen:
                self._reassign(now, group, chosen)
        found = self.closeness(now)
        gained = found - score[rows]
        better = gained > 0
        best.put(rows[better], now.rows(better))
        score[rows[better]] = found[better]
        return gained

    def _reassign(self, now: _Position, group: int, slabs: list[Slab]) -> None:
        """Move the members of one group to the best places."""
        size, free = self.spec.groups[group], group in self.free
        gains = self.reference[slabs[0].tensor].new_zeros(len(now.perms[group]), size, size)
        for where in slabs:
            own, target = (_first(v[where.tensor], where, size) for v in (now.blocks, self.reference))
            gains += target @ own.transpose(1, 2)
        order = assign(gains.abs() if free else gains)
        chosen = gains.gather(2, order[:, :, None])[:, :, 0]
        flip = torch.where(chosen < 0, -1.0, 1.0).to(gains) if free else None
        self._move(now, group, order, flip)

    def _move(self, now: _Position, group: int, order: Tensor, flip: Tensor | None) -> None:
        """Reorder the members of one group, then change their signs."""
        step = list(identity(self.spec, len(order), order.device))
        step[group] = order
        for index, axis in uses_of(self.spec, group):
            if index not in now.blocks:
                continue
            block = permute_axis(now.blocks[index], parts_of(self.spec)[index], tuple(step), axis)
            now.blocks[index] = block if flip is None else _times(block, flip, axis)
        now.perms = tuple(p.gather(1, order) if i == group else p for i, p in enumerate(now.perms))
        signs = now.signs[group].gather(1, order)
        signs = signs if flip is None else signs * flip
        now.signs = tuple(signs if i == group else s for i, s in enumerate(now.signs))


def flipped(
    values: Float[Tensor, "networks params"],
    spec: NetworkSpec,
    group: int,
    signs: Float[Tensor, "networks m"],
) -> Float[Tensor, "networks params"]:
    """Multiply every axis of a group by signs.

    Args:
        values: Networks as rows.
        spec: Their layout.
        group: The group.
        signs: 1 or -1 per member.
    """
    result = values.clone()
    for index, axis in uses_of(spec, group):
        part = parts_of(spec)[index]
        block = result[:, part.start : part.stop].reshape(len(values), *part.shape)
        result[:, part.start : part.stop] = _times(block, signs, axis).flatten(1)
    return result


def _times(
    block: Float[Tensor, "networks *shape"], signs: Float[Tensor, "networks m"], axis: int
) -> Float[Tensor, "networks *shape"]:
    """Multiply the members along one axis by signs."""
    shape = [len(block), *(1 for _ in block.shape[1:])]
    shape[axis + 1] = block.shape[axis + 1]
    return block * signs.repeat_interleave(block.shape[axis + 1] // signs.shape[1], dim=1).view(shape)


def _flippable(spec: NetworkSpec) -> frozenset[int]:
    """Groups whose every axis changes its sign at once."""
    found = {scaling.group: scaling for scaling in scalings_of(spec) if scaling.flip}
    return frozenset(group for group, scaling in found.items() if _covers(scaling, spec))


def _covers(scaling: Scaling, spec: NetworkSpec) -> bool:
    own = {(use.tensor, use.axis) for use in scaling.uses}
    return own == set(uses_of(spec, scaling.group))
