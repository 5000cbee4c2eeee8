"""The family tree of many networks: who was made from whom."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from weightatlas.progress import Tracker, track
from weightatlas.relate.arborescence import arborescence
from weightatlas.relate.changes import changes_of
from weightatlas.relate.compare import RELATED
from weightatlas.relate.descent import CHANGED, descents, halves
from weightatlas.relate.kinship import Kinship, kinship_of
from weightatlas.relate.null import Null
from weightatlas.relate.rooting import rooted
from weightatlas.relate.traces import traces_of
from weightatlas.weights.spec import NetworkSpec

_NEAREST = 40  # relatives of each network that may be its parent; siblings can be nearer than it
_AVERAGE = 1e-5  # relative squared error of an average, from float32 arithmetic
_APART = 1e-4  # relative squared difference of its parents, at least: roundings of one network average to it
_LONG = 1000  # pairs of relatives that take so long that their progress is shown
_SINGLE = 0.01  # share of changed numbers below which one parent explains a network


@dataclass(frozen=True)
class Edge:
    """A network and what it was made from.

    Args:
        child: Its row.
        parent: Row of its parent.
        second: Row of the other parent, if it is an average of two.
        changes: What was done.
        p_value: How likely strangers are this alike.
    """

    child: int
    parent: int
    second: int | None
    changes: tuple[str, ...]
    p_value: float


@dataclass(frozen=True)
class Tree:
    """Families of networks.

    Args:
        edges: One per network that has a parent, in the order of children.
        roots: Rows of networks without a parent.
    """

    edges: tuple[Edge, ...]
    roots: tuple[int, ...]

    @property
    def parents(self) -> dict[int, int]:
        """Parent of every network that has one."""
        return {edge.child: edge.parent for edge in self.edges}

    @property
    def arcs(self) -> set[tuple[int, int]]:
        """All (parent, child) pairs; averages have two."""
        seconds = {(edge.second, edge.child) for edge in self.edges if edge.second is not None}
        return {(edge.parent, edge.child) for edge in self.edges} | seconds


def family_tree(
    values: Float[Tensor, "networks params"],
    spec: NetworkSpec,
    null: Null | None = None,
    bar: Tracker | None = None,
) -> Tree:
    """Find out which networks were made from which.

    Every pair is compared. An arc from one relative to another costs above all the numbers that changed and
    that pruning and rounding of the child do not explain (`relate/descent.py`); the cheapest forest is the
    tree. Fine-tuning is symmetric: there, the founder of a family is the network from which it can have grown
    in most ways (`relate/rooting.py`). Averages of two others get both as parents. Where no hidden unit is
    certain, networks are compared in the stored order (`relate/tensorwise.py`).

    Args:
        values: Networks as rows.
        spec: Their layout.
        null: What strangers look like; measured values of the package by default.
        bar: Told how many pairs were compared.
    """
    if len(values) < 2:
        return Tree((), tuple(range(len(values))))
    clan = _Clan(kinship_of(values, spec, null or Null.default(), bar))
    costs, changed, partial = clan.costs()
    merges = clan.merges(partial, changed)
    for child, both in merges.items():
        costs[child, list(both)] = np.inf
    found = rooted(_grown(costs, merges, root_cost=2 * CHANGED * spec.params), costs, merges)
    edges = []
    for child, parent in enumerate(found):
        parent = merges[child][0] if child in merges else parent
        if parent is not None:
            second = merges[child][1] if child in merges else None
            edges.append(clan.edge(child, parent, second))
    children = {edge.child for edge in edges}
    return Tree(tuple(edges), tuple(row for row in range(len(values)) if row not in children))


def family_forest(
    stacks: Sequence[tuple[Float[Tensor, "networks params"], NetworkSpec]], null: Null | None = None
) -> Tree:
    """Find the family tree of each of several layouts, and put them side by side.

    Args:
        stacks: Networks as rows, and their layout.
        null: What strangers look like; measured values of the package by default.
    """
    total = sum(len(values) * (len(values) - 1) // 2 for values, _ in stacks)
    with track(total, "comparing pairs of networks") as bar:
        return forest([(family_tree(values, spec, null, bar), len(values)) for values, spec in stacks])


def forest(trees: Iterable[tuple[Tree, int]]) -> Tree:
    """Put trees of different layouts side by side.

    Example:
        >>> pair = Tree((Edge(1, 0, None, ("pruned",), 0.0),), (0,))
        >>> found = forest([(pair, 2), (pair, 2)])
        >>> found.roots, found.parents
        ((0, 2), {1: 0, 3: 2})

    Args:
        trees: Each with its number of networks, which are counted on through all trees.
    """
    edges: list[Edge] = []
    roots: list[int] = []
    start = 0
    for tree, count in trees:
        for edge in tree.edges:
            second = None if edge.second is None else edge.second + start
            edges.append(replace(edge, child=edge.child + start, parent=edge.parent + start, second=second))
        roots += [row + start for row in tree.roots]
        start += count
    return Tree(tuple(edges), tuple(roots))


def _grown(costs: np.ndarray, merges: dict[int, tuple[int, int]], root_cost: float) -> list[int | None]:
    """Find the cheapest forest in which no average is an ancestor of its own parents."""
    costs = costs.copy()
    while True:
        found = arborescence(costs, root_cost)
        below = [(child, _below(found, child, parent)) for child, both in merges.items() for parent in both]
        if all(first is None for _, first in below):
            return found
        for child, first in below:
            if first is not None:
                costs[child, first] = np.inf


def _below(parents: list[int | None], above: int, node: int) -> int | None:
    """Go up from a node to the child of one of its ancestors; none if that is no ancestor."""
    while (parent := parents[node]) is not None:
        if parent == above:
            return node
        node = parent
    return None


class _Clan:
    """All networks, compared with each other."""

    def __init__(self, kinship: Kinship) -> None:
        self.values, self.spec, self.kinship = kinship.values, kinship.spec, kinship
        self.p, self.scores = kinship.p, kinship.scores
        self.traces = [traces_of(row, self.spec) for row in self.values]

    def relatives(self, row: int) -> list[int]:
        """List the nearest relatives of a network."""
        limit = RELATED / len(self.values)
        near = [
            other for other in np.argsort(-self.scores[row]) if self.p[row, other] <= limit and other != row
        ]
        return [int(other) for other in near[:_NEAREST]]

    def costs(self) -> tuple[np.ndarray, np.ndarray, dict[int, list[int]]]:
        """Price every arc between near relatives, count the numbers that change along it, and note halves.

        Returns:
            Costs, counts, and the possible parents of networks that may be averages.
        """
        count = len(self.values)
        near = {(min(i, j), max(i, j)) for i in range(count) for j in self.relatives(i)}
        costs, changed = np.full((2, count, count), np.inf)
        partial: dict[int, list[int]] = {}
        for low, high in _watched(sorted(near)):
            pair = self.kinship.pair(low, high)
            down, up = descents(pair, (self.traces[low], self.traces[high]))
            costs[low, high], costs[high, low] = down.cost, up.cost
            changed[low, high], changed[high, low] = down.changed, up.changed
            for parent, child in halves(pair, low, high):
                partial.setdefault(child, []).append(parent)
        return costs, changed, partial

    def merges(self, partial: dict[int, list[int]], changed: np.ndarray) -> dict[int, tuple[int, int]]:
        """Find networks that are averages of two others, and that no single one explains."""
        found = {}
        for child, parents in partial.items():
            if changed[:, child].min() <= _SINGLE * self.spec.params:
                continue
            best = self._average(child, sorted(parents, key=lambda row: -self.scores[child, row])[:6])
            if best is not None:
                found[child] = best
        return found

    def _average(self, child: int, parents: list[int]) -> tuple[int, int] | None:
        """Try all pairs of possible parents; return the one whose mean is the child."""
        if len(parents) < 2:
            return None
        frames, goal = self.kinship.frames(child, parents)
        own = goal.double()
        best, left = None, _AVERAGE
        for i in range(len(parents)):
            for j in range(i):
                error = (frames[i] + frames[j]).double() / 2 - own
                share = float(error.square().sum() / own.square().sum())
                apart = float((frames[i] - frames[j]).double().square().sum() / own.square().sum())
                if share < left and apart > _APART:
                    best, left = (parents[i], parents[j]), share
        return best

    def edge(self, child: int, parent: int, second: int | None) -> Edge:
        """Describe an arc."""
        low, high = min(child, parent), max(child, parent)
        names = changes_of(self.kinship.pair(low, high), (self.traces[low], self.traces[high])).names
        if second is not None:
            names = tuple(dict.fromkeys(name.replace("fine-tuned", "merged") for name in names))
        return Edge(child, parent, second, names or ("identical",), float(self.p[child, parent]))


def _watched(pairs: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Go through pairs of relatives, with a display of its own where that takes long."""
    if len(pairs) < _LONG:
        yield from pairs
        return
    with track(len(pairs), "pricing arcs between relatives") as bar:
        for pair in pairs:
            yield pair
            bar.advance()
