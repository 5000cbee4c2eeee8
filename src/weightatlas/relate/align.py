"""Bring many networks into the unit order and signs of one reference."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.symmetry.permutation import Permutations, compose, identity, parts_of, permute, uses_of
from weightatlas.symmetry.signs import Scaling, scalings_of
from weightatlas.weights.spec import NetworkSpec

_SWEEPS = 6

Look = Literal["early", "signatures", "all"]


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
    """View a tensor of all networks with the members of one axis first, of norm `sqrt(members)`."""
    tensor, start = spec.tensors[where.tensor], spec.offsets[where.tensor]
    block = values[:, start : start + tensor.size].reshape(len(values), *tensor.shape)
    block = block.movedim(where.axis + 1, 1).reshape(len(values), tensor.axes[where.axis][0].members, -1)
    return _unit(block)


def signature(
    values: Float[Tensor, "networks params"], spec: NetworkSpec, where: Slab
) -> Float[Tensor, "networks members rest"]:
    """Describe members by numbers that do not depend on the order or the signs of other groups.

    Along the axes of other groups, sizes are sorted; what all members have in common is taken out.
    """
    tensor, start = spec.tensors[where.tensor], spec.offsets[where.tensor]
    block = values[:, start : start + tensor.size].reshape(len(values), *tensor.shape).abs()
    for axis, segments in enumerate(tensor.axes):
        if axis != where.axis and any(segment.group is not None for segment in segments):
            block = block.sort(dim=axis + 1).values
    block = block.movedim(where.axis + 1, 1).reshape(len(values), tensor.axes[where.axis][0].members, -1)
    return _unit(block - block.mean(dim=1, keepdim=True))


def _unit(block: Float[Tensor, "networks members rest"]) -> Float[Tensor, "networks members rest"]:
    """Give every network's block the norm `sqrt(members)`."""
    norm = block.square().sum(dim=(1, 2), keepdim=True).sqrt().clamp_min(1e-20)
    return block * (block.shape[1] ** 0.5 / norm)


def align(
    values: Float[Tensor, "networks params"],
    reference: Float[Tensor, " params"],
    spec: NetworkSpec,
    flips: NetworkSpec | None = None,
) -> Aligned:
    """Match the units of every network to those of a reference.

    Weight matching (Git Re-Basin, algorithm 1) on tensors of equal norm, with signs where the activation
    is odd: an assignment then counts the size of an inner product, and its sign becomes the unit's. Starts
    from the best of the stored order and two passes from input to output: one looks only at weights whose
    other axes are in order already, one also at what does not depend on their order.

    Args:
        values: Networks as rows.
        reference: One network.
        spec: Their layout.
        flips: The layout with a graph that says which signs are free; none are otherwise.
    """
    work = _Work(values, reference[None], spec, _flippable(flips) if flips is not None else set())
    stored = _Position(values, identity(spec, len(values), values.device), work.ones())
    best = work.better(work.sweep(stored, "early"), stored)
    best = work.better(work.sweep(stored, "signatures"), best)
    rows = torch.arange(len(values))
    for _ in range(_SWEEPS):
        some = work.take(rows)
        before = some.closeness(best.rows(rows))
        moved = some.sweep(best.rows(rows), "all")
        gained = some.closeness(moved) > before * (1 + 1e-6) + 1e-9
        if not gained.any():
            break
        rows, moved = rows[gained], moved.rows(gained.nonzero().flatten())
        best.put(rows, moved)
    return Aligned(best.values, best.perms, best.signs)


@dataclass
class _Position:
    """How far networks have been moved."""

    values: Tensor
    perms: Permutations
    signs: tuple[Tensor, ...]

    def rows(self, rows: Tensor) -> "_Position":
        return _Position(
            self.values[rows], tuple(p[rows] for p in self.perms), tuple(s[rows] for s in self.signs)
        )

    def put(self, rows: Tensor, other: "_Position") -> None:
        self.values = self.values.clone()
        self.values[rows] = other.values
        for own, new in zip((*self.perms, *self.signs), (*other.perms, *other.signs), strict=True):
            own[rows] = new


@dataclass(frozen=True)
class _Work:
    """Networks to be matched and what they are matched to."""

    originals: Tensor
    reference: Tensor
    spec: NetworkSpec
    flips: set[int]

    def take(self, rows: Tensor) -> "_Work":
        return _Work(self.originals[rows], self.reference, self.spec, self.flips)

    def ones(self) -> tuple[Tensor, ...]:
        count, like = len(self.originals), self.originals
        return tuple(
            torch.ones(count, size, dtype=like.dtype, device=like.device) for size in self.spec.groups
        )

    def sweep(self, start: _Position, look: Look) -> _Position:
        """Reassign every group once, in order."""
        now = start
        for group in range(len(self.spec.groups)):
            if any(where.early or look != "early" for where in slabs_of(self.spec)[group]):
                now = self._reassign(now, group, look)
        return now

    def _reassign(self, now: _Position, group: int, look: Look) -> _Position:
        """Move the members of one group to the best places."""
        size, free = self.spec.groups[group], group in self.flips
        gains = now.values.new_zeros(len(now.values), size, size)
        extra = torch.zeros_like(gains)
        for where in slabs_of(self.spec)[group]:
            if where.early or look == "all":
                target, own = (slab(v, self.spec, where) for v in (self.reference, now.values))
                gains += target @ own.transpose(1, 2)
            elif look == "signatures":
                target, own = (signature(v, self.spec, where) for v in (self.reference, now.values))
                extra += target @ own.transpose(1, 2)
        order = _assign((gains.abs() if free else gains) + extra)
        step = list(identity(self.spec, len(order), order.device))
        step[group] = order
        moved = permute(now.values, tuple(step), self.spec)
        signs = [sign.gather(1, order) if i == group else sign for i, sign in enumerate(now.signs)]
        if free:
            chosen = gains.gather(2, order[:, :, None])[:, :, 0]
            flip = torch.where(chosen < 0, -1.0, 1.0).to(moved.dtype)
            moved = flipped(moved, self.spec, group, flip)
            signs[group] = signs[group] * flip
        return _Position(moved, compose(now.perms, tuple(step)), tuple(signs))

    def closeness(self, position: _Position) -> Float[Tensor, " networks"]:
        """Sum the inner products of all tensors that matching looks at, each of equal norm."""
        total = torch.zeros(len(position.values), dtype=position.values.dtype)
        for group in slabs_of(self.spec):
            for where in group:
                target, own = (slab(v, self.spec, where) for v in (self.reference, position.values))
                total += (target * own).sum(dim=(1, 2)) / own.shape[1]
        return total

    def better(self, first: _Position, second: _Position) -> _Position:
        """Choose network by network."""
        rows = (self.closeness(first) > self.closeness(second)).nonzero().flatten()
        second = second.rows(torch.arange(len(second.values)))
        second.put(rows, first.rows(rows))
        return second


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
        shape = [len(values), *(1 for _ in part.shape)]
        shape[axis + 1] = part.shape[axis]
        times = signs.repeat_interleave(part.shape[axis] // signs.shape[1], dim=1).view(shape)
        result[:, part.start : part.stop] = (block * times).flatten(1)
    return result


def _flippable(spec: NetworkSpec) -> set[int]:
    """Groups whose every axis changes its sign at once."""
    found = {scaling.group: scaling for scaling in scalings_of(spec) if scaling.flip}
    return {group for group, scaling in found.items() if _covers(scaling, spec)}


def _covers(scaling: Scaling, spec: NetworkSpec) -> bool:
    own = {(use.tensor, use.axis) for use in scaling.uses}
    return own == set(uses_of(spec, scaling.group))


def _assign(gains: Float[Tensor, "networks n n"]) -> Tensor:
    """Solve one assignment problem per network."""
    from scipy.optimize import linear_sum_assignment

    solved = [torch.from_numpy(linear_sum_assignment(g, maximize=True)[1]) for g in gains.cpu().numpy()]
    return torch.stack(solved).to(gains.device)
