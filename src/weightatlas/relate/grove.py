"""Random family trees of known shape, for `bench lineage`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.relate import family
from weightatlas.runtime import numpy_generator_of
from weightatlas.weights.spec import NetworkSpec

OPERATIONS = {
    "tune": 0.5,
    "prune": 0.15,
    "round": 0.15,
    "renumber and tune": 0.1,
    "average": 0.05,
    "renumber": 0.05,
}
_PRECISIONS: tuple[family.Precision, ...] = ("float16", "int8", "int8 per row", "int4 per row")


@dataclass
class Growing:
    """One tree while it grows.

    Args:
        rows: Networks, the root first.
        edges: (parent, child) of every edge; an average has two.
        steps: Operations that led to each network.
    """

    rows: list[Tensor]
    edges: set[tuple[int, int]] = field(default_factory=set)
    steps: list[str] = field(default_factory=lambda: ["root"])


@dataclass(frozen=True)
class Known:
    """A tree whose edges are known.

    Args:
        values: Networks as rows, shuffled.
        edges: (parent, child) rows.
    """

    values: Float[Tensor, "networks params"]
    edges: frozenset[tuple[int, int]]


def grow(
    roots: Float[Tensor, "trees params"],
    spec: NetworkSpec,
    tune: Callable[[Tensor, int], Tensor],
    generations: int = 5,
    each: int = 6,
    seed: int = 0,
) -> list[Known]:
    """Grow one tree from every root.

    Each new network is made from a random older one. A network that is sparse or rounded already is not
    pruned or rounded again but trained further, since that could not be told from doing it once.

    Args:
        roots: Trained networks as rows.
        spec: Their layout.
        tune: (networks, generation) -> networks trained further.
        generations: How often every tree grows.
        each: New networks per tree and generation.
        seed: Seed of shapes and operations.
    """
    rng = numpy_generator_of("grove", seed)
    trees = [Growing([root]) for root in roots]
    for generation in range(generations):
        plans = [[_plan(tree, rng) for _ in range(each)] for tree in trees]
        starts = [
            _start(tree, parent, step, spec, rng)
            for tree, plan in zip(trees, plans, strict=True)
            for parent, step in plan
        ]
        trained = [i for i, plan in enumerate(chain.from_iterable(plans)) if "tune" in plan[1]]
        if trained:
            done = tune(torch.stack([starts[i][0] for i in trained]), generation)
            for place, row in zip(trained, done, strict=True):
                starts[place] = (row, *starts[place][1:])
        for i, (row, parents, step) in enumerate(starts):
            _add(trees[i // each], row, parents, step)
    return [_shuffled(tree, rng) for tree in trees]


def _plan(tree: Growing, rng: np.random.Generator) -> tuple[int, str]:
    """Choose a parent and what is done to it."""
    parent = int(rng.integers(len(tree.rows)))
    step = str(rng.choice(list(OPERATIONS), p=list(OPERATIONS.values())))
    if tree.steps[parent] in ("prune", "round") and step in ("prune", "round", "average"):
        step = "tune"
    if step == "average" and len(_partners(tree, parent)) == 0:
        step = "tune"
    return parent, step


def _partners(tree: Growing, parent: int) -> list[int]:
    """Networks that may be averaged with another: trained ones."""
    return [row for row, step in enumerate(tree.steps) if row != parent and step in ("tune", "root")]


def _start(
    tree: Growing, parent: int, step: str, spec: NetworkSpec, rng: np.random.Generator
) -> tuple[Tensor, list[int], str]:
    """Do everything but training."""
    row, parents, draw = tree.rows[parent][None], [parent], int(rng.integers(2**31))
    if step == "prune":
        row = family.pruned(row, spec, [float(rng.uniform(0.3, 0.9))])
    elif step == "round":
        row = family.quantized(row, spec, _PRECISIONS[draw % len(_PRECISIONS)])
    elif step.startswith("renumber"):
        row = family.permuted(row, spec, draw)
    elif step == "average":
        other = _partners(tree, parent)[draw % len(_partners(tree, parent))]
        row, parents = family.merged(row, tree.rows[other][None], spec, matched=True), [parent, other]
    return row[0].clone(), parents, step


def _add(tree: Growing, row: Tensor, parents: list[int], step: str) -> None:
    """Write a new network down."""
    tree.edges |= {(parent, len(tree.rows)) for parent in parents}
    tree.rows.append(row)
    tree.steps.append(step)


def _shuffled(tree: Growing, rng: np.random.Generator) -> Known:
    """Hide the order in which networks were made."""
    order = rng.permutation(len(tree.rows))
    place = {int(old): new for new, old in enumerate(order)}
    edges = frozenset((place[parent], place[child]) for parent, child in tree.edges)
    return Known(torch.stack([tree.rows[old] for old in order]), edges)
