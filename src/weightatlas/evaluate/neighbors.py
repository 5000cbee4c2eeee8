"""Nearest networks when the order of neurons is free: every distance is one after matching two networks."""

import itertools
from collections.abc import Iterator
from contextlib import nullcontext

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.evaluate.distances import distances
from weightatlas.progress import track
from weightatlas.runtime import generator_of
from weightatlas.symmetry.matching import canonical
from weightatlas.symmetry.permutation import Part, parts_of
from weightatlas.weights.spec import NetworkSpec, Segment

CANDIDATES = 8
_SAMPLE = 512  # networks whose neighbors measure the spread of a zoo
_PAIRS = 2000  # pairs of which a mean distance is taken
_CHUNK = 1 << 22  # numbers of one chunk of pairs
_LONG = 30_000_000  # numbers of all pairs from which progress is shown


def matched_distances(
    first: Float[Tensor, "pairs params"], second: Float[Tensor, "pairs params"], spec: NetworkSpec | None
) -> Float[Tensor, " pairs"]:
    """Distance of two networks after the first was matched to the second (Git Re-Basin), pair by pair.

    Matching starts from the order both have where that is better, so it is never above the plain distance.
    It is an upper bound of the least distance over all orders, and exact for networks that are nearly equal.

    Args:
        first: Networks as rows.
        second: As many networks.
        spec: Layout; without it, or without groups, distances are plain.
    """
    places = torch.arange(len(first), device=first.device)
    return _between(first, second, (places, places), spec)


def _between(
    first: Tensor, second: Tensor, pairs: tuple[Tensor, Tensor], spec: NetworkSpec | None
) -> Float[Tensor, " pairs"]:
    """Distances of pairs of rows; few are gathered at a time, and many are shown."""
    free = spec is not None and bool(spec.groups)
    step, found = max(1, _CHUNK // max(first.shape[1], 1)), [first.new_zeros(0)]
    long = free and len(pairs[0]) * first.shape[1] > _LONG
    with track(len(pairs[0]), "matching networks") if long else nullcontext() as bar:
        for one, other in zip(*(part.split(step) for part in pairs), strict=True):
            own, goal = first[one], second[other]
            own = canonical(own, goal, spec) if free and spec is not None else own
            found.append((own.double() - goal.double()).norm(dim=1).float())
            if bar is not None:
                bar.advance(len(one))
    return torch.cat(found)


def invariants(
    values: Float[Tensor, "networks params"], spec: NetworkSpec
) -> Float[Tensor, "networks params"]:
    """Sort what permutations can exchange: the Euclidean distance of two results is a lower bound.

    Numbers of a tensor that some order of the neurons could put in each other's place are sorted; whatever
    the order of two networks, they are at least as far from each other as their sorted numbers.

    Example:
        >>> from weightatlas.weights.trace import trace
        >>> spec = trace(torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Linear(2, 1)), (1,))
        >>> [tensor.name for tensor in spec.tensors]
        ['0.weight', '0.bias', '1.weight', '1.bias']
        >>> invariants(torch.tensor([[3.0, 1.0, 0.0, 2.0, 5.0, 4.0, 7.0]]), spec)
        tensor([[1., 3., 0., 2., 4., 5., 7.]])

    Args:
        values: Networks as rows.
        spec: Their layout.
    """
    pieces = [values[:, :0]]
    for part in parts_of(spec):
        own = values[:, part.start : part.stop].reshape(len(values), *part.shape)
        pieces += [
            _sorted(block, segments).reshape(len(values), -1) for block, segments in _blocks(own, part)
        ]
    return torch.cat(pieces, dim=1)


def _blocks(own: Tensor, part: Part) -> Iterator[tuple[Tensor, tuple[Segment, ...]]]:
    """Cut a tensor where the segments of its axes meet."""
    for places in itertools.product(*(range(len(axis)) for axis in part.axes)):
        block = own
        for dim, (place, axis) in enumerate(zip(places, part.axes, strict=True), start=1):
            block = block.narrow(dim, sum(segment.size for segment in axis[:place]), axis[place].size)
        yield block, tuple(axis[place] for place, axis in zip(places, part.axes, strict=True))


def _sorted(block: Tensor, segments: tuple[Segment, ...]) -> Tensor:
    """Sort a block over all members that a group moves; numbers that travel together stay apart."""
    moving = [segment.group is not None for segment in segments]
    if not any(moving):
        return block
    shape = [size for s in segments for size in (s.members, s.positions)]
    block = block.reshape(len(block), *shape)
    members = [2 * axis + 1 for axis, moves in enumerate(moving) if moves]
    block = block.movedim(members, list(range(1, len(members) + 1))).flatten(1, len(members))
    return block.sort(dim=1).values


def matched_mean(
    values: Float[Tensor, "networks params"], spec: NetworkSpec | None = None, pairs: int = _PAIRS
) -> float:
    """Mean distance over pairs of different networks, each pair matched on its own.

    Args:
        values: Networks as rows.
        spec: Layout; without it distances are plain.
        pairs: All pairs are taken if there are not more; otherwise these many, always the same.

    Raises:
        DataError: There are fewer than two networks.
    """
    count = len(values)
    if count < 2:
        raise DataError(f"Diversity is defined for at least 2 networks; there is {count}.")
    first, second = torch.triu_indices(count, count, 1, device=values.device)
    if len(first) > pairs:
        order = torch.randperm(len(first), generator=generator_of("pairs", count))[:pairs].to(first.device)
        first, second = first[order], second[order]
    return float(_between(values, values, (first, second), spec).double().mean())


class Neighbors:
    """Networks among which nearest ones are looked for, whatever the order of neurons; prepared once.

    A network is matched to the candidates that a lower bound puts first, which finds copies and near copies
    in any order, and to those that are nearest in the order of one common reference, which is a good guess
    among strangers. On 800 digits networks eight of each come within one percent of matching all.

    Args:
        values: Where neighbors are looked for, as rows.
        spec: Layout; without it, or without groups, distances are plain.
        reference: The common reference; the first network by default.

    Raises:
        DataError: There are no networks, or with a spec one is not finite.
    """

    def __init__(
        self,
        values: Float[Tensor, "others params"],
        spec: NetworkSpec | None = None,
        reference: Float[Tensor, " params"] | None = None,
    ) -> None:
        if not len(values):
            raise DataError("There are no networks to compare with.")
        self.values, self.spec = values, spec if spec is not None and spec.groups else None
        self._reference = values[0] if reference is None else reference
        self._views = self._views_of(values)

    def _views_of(self, values: Tensor) -> tuple[Tensor, ...]:
        """What candidates are chosen by: sorted numbers, and the order of the reference."""
        if self.spec is None:
            return ()
        return invariants(values, self.spec), canonical(values, self._reference, self.spec)

    def nearest(
        self,
        networks: Float[Tensor, "networks params"],
        barred: Bool[Tensor, "networks others"] | None = None,
        candidates: int = CANDIDATES,
    ) -> tuple[Float[Tensor, " networks"], Int[Tensor, " networks"]]:
        """Find each network's nearest one, and how far it is.

        Args:
            networks: Networks as rows; one that is not finite has no distance (NaN).
            barred: Pairs that are no neighbors, such as networks of one lineage.
            candidates: Of each kind.

        Returns:
            Distances and indices. Distances are upper bounds, exact where networks are nearly equal.
        """
        plain = distances(networks, self.values)
        shut = torch.zeros_like(plain, dtype=torch.bool) if barred is None else barred.to(plain.device)
        least, index = plain.masked_fill(shut, torch.inf).min(1)
        rows = networks.isfinite().all(1).nonzero().flatten()
        if self.spec is None or not len(rows):
            return least, index
        chosen = self._candidates(networks[rows], shut[rows], min(candidates, len(self.values)))
        pairs = rows.repeat_interleave(chosen.shape[1]), chosen.flatten()
        far = _between(networks, self.values, pairs, self.spec).view(chosen.shape)
        best, place = far.masked_fill(shut[rows].gather(1, chosen), torch.inf).min(1)
        found = chosen.gather(1, place[:, None])[:, 0]
        index[rows] = torch.where(best < least[rows], found, index[rows])
        least[rows] = torch.minimum(best, least[rows])
        return least, index

    def _candidates(self, networks: Tensor, shut: Tensor, count: int) -> Int[Tensor, "networks candidates"]:
        """Take the first by every view."""
        views = zip(self._views_of(networks), self._views, strict=True)
        far = [distances(own, others).masked_fill(shut, torch.inf) for own, others in views]
        return torch.cat([each.topk(count, largest=False).indices for each in far], dim=1)

    def spread(self, lineage: Int[Tensor, " others"] | None = None, sample: int = _SAMPLE) -> float:
        """Median distance of these networks to their nearest neighbor of another lineage: a zoo's unit.

        Args:
            lineage: Number of each network's lineage; checkpoints of one training run are not neighbors.
            sample: Networks whose neighbors are looked for, evenly spaced among all.

        Raises:
            DataError: All networks are of one lineage, or there is only one.
        """
        count, device = len(self.values), self.values.device
        own = torch.arange(count, device=device) if lineage is None else lineage.to(device)
        if len(own.unique()) < 2:
            raise DataError(
                f"The spread of a zoo needs networks of two lineages; these {count} are of one.",
                todo="Pass more training networks.",
            )
        rows = torch.arange(0, count, -(-count // sample), device=device)
        least, _ = self.nearest(self.values[rows], own[rows, None] == own[None, :])
        return float(least.median())
