"""The family tree of many networks: who was made from whom."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from torch import Tensor

from weightatlas.relate.arborescence import arborescence
from weightatlas.relate.canonical import Canonical, canonical_form
from weightatlas.relate.changes import changes_of
from weightatlas.relate.compare import RELATED, comparable
from weightatlas.relate.descent import CHANGED, descents, halves
from weightatlas.relate.evidence import Evidence, evidence
from weightatlas.relate.null import Null, p_values, score_of
from weightatlas.relate.pair import Pair, pair_of
from weightatlas.relate.rooting import rooted
from weightatlas.relate.traces import traces_of
from weightatlas.weights.spec import NetworkSpec

_NEAREST = 40  # relatives of each network that may be its parent; siblings can be nearer than it
_AVERAGE = 1e-5  # relative squared error of an average, from float32 arithmetic
_APART = 1e-4  # relative squared difference of its parents, at least: roundings of one network average to it
_SINGLE = 0.01  # share of changed numbers below which one parent explains a network
_CLOSER = 1.02  # how much larger the squared difference in the stored order may be than after matching


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
    values: Float[Tensor, "networks params"], spec: NetworkSpec, null: Null | None = None
) -> Tree:
    """Find out which networks were made from which.

    Every pair is compared. An arc from one relative to another costs above all the numbers that changed and
    that pruning and rounding of the child do not explain (`relate/descent.py`); the cheapest forest is the
    tree. Fine-tuning is symmetric: there, the founder of a family is the network from which it can have grown
    in most ways (`relate/rooting.py`). Averages of two others get both as parents.

    Args:
        values: Networks as rows.
        spec: Their layout.
        null: What strangers look like; measured values of the package by default.
    """
    clan = _Clan(values.float(), spec, null or Null.default())
    if not clan.usable:
        return Tree((), tuple(range(len(values))))
    costs, changed, pairs = clan.costs()
    merges = clan.merges(pairs, changed)
    for child, both in merges.items():
        costs[child, list(both)] = np.inf
    found = rooted(_grown(costs, merges, root_cost=2 * CHANGED * spec.params), costs, merges)
    edges = []
    for child, parent in enumerate(found):
        parent = merges[child][0] if child in merges else parent
        if parent is not None:
            second = merges[child][1] if child in merges else None
            edges.append(clan.edge(child, parent, second, pairs))
    children = {edge.child for edge in edges}
    return Tree(tuple(edges), tuple(row for row in range(len(values)) if row not in children))


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

    def __init__(self, values: Tensor, spec: NetworkSpec, null: Null) -> None:
        self.values, self.spec, self.null = values, spec, null
        self.form = canonical_form(values, spec)
        self.flips = self.form.spec if spec.graph is not None else None
        self.usable = comparable(self.form, self.form) and len(values) > 1
        self.traces = [traces_of(row, spec) for row in values]
        count = len(values)
        self.p = np.ones((count, count))
        self.scores = np.full((count, count), -np.inf)
        self.found: dict[int, Evidence] = {}
        if self.usable:
            self._compare()

    def _compare(self) -> None:
        bodies = self.form.bodies
        for row in range(len(bodies) - 1):
            found = evidence(bodies[row + 1 :], bodies[row], self.form.body, self.flips)
            p, scores = p_values(found, self.null)[0].numpy(), score_of(found).numpy()
            self.p[row, row + 1 :] = self.p[row + 1 :, row] = p
            self.scores[row, row + 1 :] = self.scores[row + 1 :, row] = scores
            self.found[row] = found

    def relatives(self, row: int) -> list[int]:
        """List the nearest relatives of a network."""
        limit = RELATED / len(self.values)
        near = [
            other for other in np.argsort(-self.scores[row]) if self.p[row, other] <= limit and other != row
        ]
        return [int(other) for other in near[:_NEAREST]]

    def pair(self, first: int, second: int) -> Pair:
        """Put two networks into the frame of the one with the smaller row."""
        low, high = min(first, second), max(first, second)
        forms = self._one(low), self._one(high)
        raw = self.values[low], self.values[high]
        matched = pair_of(raw, (self.spec, self.spec), forms, self.found[low], high - low - 1)
        stored = Pair(*raw, self.spec, permuted=False, rescaled=False, heads=True)
        return stored if _closer(stored, matched) else matched

    @lru_cache(maxsize=4096)  # noqa: B019 (a clan lives as long as one tree is built)
    def _one(self, row: int) -> Canonical:
        form, rows = self.form, slice(row, row + 1)
        factors = tuple(factor[rows] for factor in form.factors)
        some = form.values[rows], form.folded[rows], factors
        return Canonical(*some, form.spec, form.scalings, form.body, form.keep)

    def costs(self) -> tuple[np.ndarray, np.ndarray, dict[tuple[int, int], Pair]]:
        """Price every arc between near relatives, and count the numbers that change along it."""
        count = len(self.values)
        near = {(min(i, j), max(i, j)) for i in range(count) for j in self.relatives(i)}
        pairs = {key: self.pair(*key) for key in sorted(near)}
        costs, changed = np.full((2, count, count), np.inf)
        for (low, high), pair in pairs.items():
            down, up = descents(pair, (self.traces[low], self.traces[high]))
            costs[low, high], costs[high, low] = down.cost, up.cost
            changed[low, high], changed[high, low] = down.changed, up.changed
        return costs, changed, pairs

    def merges(self, pairs: dict[tuple[int, int], Pair], changed: np.ndarray) -> dict[int, tuple[int, int]]:
        """Find networks that are averages of two others, and that no single one explains."""
        partial: dict[int, list[int]] = {}
        for (low, high), pair in pairs.items():
            for parent, child in halves(pair, low, high):
                partial.setdefault(child, []).append(parent)
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
        bodies, goal = self.form.bodies, self.form.bodies[child]
        rows = evidence(bodies[parents], goal, self.form.body, self.flips).aligned
        perms = tuple(perm for perm in rows.perms)
        frames = _raw_bodies(self.values[parents], self.form, self.spec, perms)
        own = _raw_bodies(self.values[child : child + 1], self.form, self.spec, None)[0].double()
        best, left = None, _AVERAGE
        for i in range(len(parents)):
            for j in range(i):
                error = (frames[i] + frames[j]).double() / 2 - own
                share = float(error.square().sum() / own.square().sum())
                apart = float((frames[i] - frames[j]).double().square().sum() / own.square().sum())
                if share < left and apart > _APART:
                    best, left = (parents[i], parents[j]), share
        return best

    def edge(self, child: int, parent: int, second: int | None, pairs: dict[tuple[int, int], Pair]) -> Edge:
        """Describe an arc."""
        low, high = min(child, parent), max(child, parent)
        pair = pairs[low, high]
        names = changes_of(pair, (self.traces[low], self.traces[high])).names
        if second is not None:
            names = tuple(dict.fromkeys(name.replace("fine-tuned", "merged") for name in names))
        return Edge(child, parent, second, names or ("identical",), float(self.p[child, parent]))


def _closer(stored: Pair, matched: Pair) -> bool:
    """Whether two networks are as alike in the order they are stored in as in the one that was found.

    Matching may exchange units that are dead or alike, which hides that numbers are equal.
    """
    if stored.first.shape != matched.first.shape:
        return False
    pairs = [(pair.first, pair.second) for pair in (stored, matched)]
    moved = [int((first != second).sum()) for first, second in pairs]
    error = [float((first - second).double().square().sum()) for first, second in pairs]
    return moved[0] <= moved[1] or error[0] <= _CLOSER * error[1]


def _raw_bodies(
    values: Tensor, form: Canonical, spec: NetworkSpec, perms: tuple[Tensor, ...] | None
) -> Tensor:
    """Stored numbers without heads, permuted if asked for."""
    from weightatlas.relate.canonical import body_of
    from weightatlas.symmetry.permutation import permute

    moved = permute(values, perms, spec) if perms else values
    return moved[:, body_of(spec)[1]]
