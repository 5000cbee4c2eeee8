"""Who came first: the root of a family whose edges are known."""

from collections.abc import Collection, Sequence
from math import isinf, log

import numpy as np
from jaxtyping import Float


def rooted(
    parents: Sequence[int | None], costs: Float[np.ndarray, "nodes nodes"], fixed: Collection[int] = ()
) -> list[int | None]:
    """Turn the arcs of every family so that its root is the likeliest one.

    Which of two networks was trained further cannot be seen, so the cheapest forest may hang a family from a
    leaf. Where every new network is made from a random older one, a tree of n nodes can grow from a root in
    n! / (product of the sizes of its subtrees) orders (Shah & Zaman, 2011: rumor centrality): founders stand
    in the middle. Taken is the root with the smallest cost of arcs minus the logarithm of that number; of
    equals, the one it has. What hangs below an average stays there, since the average was made before it.

    Example:
        >>> import numpy as np
        >>> rooted([None, 0, 1, 1], np.zeros((4, 4)))  # a star hung from one of its points
        [1, None, 1, 1]

    Args:
        parents: Parent of each node, or none.
        costs: `costs[parent, child]` in nats; infinite where there is no arc.
        fixed: Nodes whose parents are known otherwise, such as averages of two.
    """
    near: list[set[int]] = [set() for _ in parents]
    for child, parent in enumerate(parents):
        if parent is not None and child not in fixed:
            near[child].add(parent)
            near[parent].add(child)
    found, done = list(parents), set()
    for start in range(len(parents)):
        if start in done or not near[start]:
            continue
        family = sorted(_hung(near, start), key=lambda node: parents[node] is not None)
        done |= set(family)
        if not any(node in fixed for node in family):
            tree = _hung(near, _founder(_hung(near, family[0]), family, costs))
            found = [tree.get(node, old) for node, old in enumerate(found)]
    return found


def _hung(near: list[set[int]], root: int) -> dict[int, int | None]:
    """Parent of every node of a family hung from a root; parents stand before children."""
    tree: dict[int, int | None] = {root: None}
    queue = [root]
    for node in queue:
        fresh = near[node] - tree.keys()
        tree |= dict.fromkeys(fresh, node)
        queue += fresh
    return tree


def _founder(tree: dict[int, int | None], family: Sequence[int], costs: np.ndarray) -> int:
    """Choose the root with the smallest cost of arcs, minus the logarithm of the number of orders of growth.

    When a root moves to a neighbor, one arc turns, and only the subtrees of these two change their sizes.

    Args:
        tree: The family hung from one of its nodes, parents before children.
        family: Its nodes; of equals, the first one is taken.
        costs: `costs[parent, child]`.
    """
    sizes = dict.fromkeys(tree, 1)
    for node, parent in reversed(tree.items()):
        if parent is not None:
            sizes[parent] += sizes[node]
    blocked, priced = dict.fromkeys(tree, 0), dict.fromkeys(tree, 0.0)  # less what the first root costs
    for node, parent in tree.items():
        if parent is not None:
            down, up = float(costs[parent, node]), float(costs[node, parent])
            blocked[node] = blocked[parent] + isinf(up) - isinf(down)
            turned = (0.0 if isinf(up) else up) - (0.0 if isinf(down) else down)
            grown = log(len(tree) - sizes[node]) - log(sizes[node])
            priced[node] = priced[parent] + turned + grown
    return min(family, key=lambda node: (blocked[node], round(priced[node], 6)))
