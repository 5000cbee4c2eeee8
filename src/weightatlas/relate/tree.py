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
from weightatlas.relate.descent import descent, halves
from weightatlas.relate.evidence import Evidence, evidence
from weightatlas.relate.null import Null, p_values, score_of
from weightatlas.relate.pair import Pair, pair_of
from weightatlas.relate.traces import Traces, traces_of
from weightatlas.weights.spec import NetworkSpec

_NEAREST = 10  # relatives of each network that may be its parent
_AVERAGE = 1e-5  # relative squared error of an average, from float32 arithmetic


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

    Every pair is compared. An arc from one relative to another costs what pruning and rounding of the child
    leave unexplained of the difference (its logarithm, times the numbers); the cheapest forest is the tree.
    Fine-tuning is symmetric: there, networks are taken to grow when they are trained, and of equal copies the
    one whose unit order is more common to come first. Averages of two others get both as parents.

    Args:
        values: Networks as rows.
        spec: Their layout.
        null: What strangers look like; measured values of the package by default.
    """
    clan = _Clan(values.float(), spec, null or Null.default())
    if not clan.usable:
        return Tree((), tuple(range(len(values))))
    costs, pairs = clan.costs()
    merges = clan.merges(pairs)
    for child, both in merges.items():
        costs[child, list(both)] = np.inf
    found = arborescence(costs, root_cost=float(spec.params))
    edges = []
    for child, parent in enumerate(found):
        parent = merges[child][0] if child in merges else parent
        if parent is not None:
            second = merges[child][1] if child in merges else None
            edges.append(clan.edge(child, parent, second, pairs))
    children = {edge.child for edge in edges}
    return Tree(tuple(edges), tuple(row for row in range(len(values)) if row not in children))


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
        return pair_of(raw, (self.spec, self.spec), forms, self.found[low], high - low - 1)

    @lru_cache(maxsize=4096)  # noqa: B019 (a clan lives as long as one tree is built)
    def _one(self, row: int) -> Canonical:
        form, rows = self.form, slice(row, row + 1)
        factors = tuple(factor[rows] for factor in form.factors)
        some = form.values[rows], form.folded[rows], factors
        return Canonical(*some, form.spec, form.scalings, form.body, form.keep)

    def costs(self) -> tuple[np.ndarray, dict[tuple[int, int], Pair]]:
        """Price every arc between near relatives."""
        count = len(self.values)
        near = {(min(i, j), max(i, j)) for i in range(count) for j in self.relatives(i)}
        pairs = {key: self.pair(*key) for key in sorted(near)}
        apart = np.zeros(count)
        for (low, high), pair in pairs.items():
            apart[[low, high]] += pair.permuted
        degree = np.bincount([row for key in pairs for row in key], minlength=count)
        odd = apart / np.maximum(degree, 1)
        costs = np.full((count, count), np.inf)
        for (low, high), pair in pairs.items():
            both: tuple[Traces, Traces] = (self.traces[low], self.traces[high])
            down, up = descent(pair, both, (odd[low], odd[high]))
            costs[low, high], costs[high, low] = down, up
        return costs, pairs

    def merges(self, pairs: dict[tuple[int, int], Pair]) -> dict[int, tuple[int, int]]:
        """Find networks that are averages of two others."""
        partial: dict[int, list[int]] = {}
        for (low, high), pair in pairs.items():
            for parent, child in halves(pair, low, high):
                partial.setdefault(child, []).append(parent)
        found = {}
        for child, parents in partial.items():
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
                if share < left:
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


def _raw_bodies(
    values: Tensor, form: Canonical, spec: NetworkSpec, perms: tuple[Tensor, ...] | None
) -> Tensor:
    """Stored numbers without heads, permuted if asked for."""
    from weightatlas.relate.canonical import body_of
    from weightatlas.symmetry.permutation import permute

    moved = permute(values, perms, spec) if perms else values
    return moved[:, body_of(spec)[1]]
