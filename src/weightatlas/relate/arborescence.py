"""Cheapest family forest: every node gets one parent or is a root (Chu & Liu, 1965; Edmonds, 1967)."""

import numpy as np
from jaxtyping import Float


def arborescence(costs: Float[np.ndarray, "nodes nodes"], root_cost: float) -> list[int | None]:
    """Choose a parent for every node, or none: the smallest sum of costs without a circle.

    Example:
        >>> import numpy as np
        >>> inf = np.inf
        >>> arborescence(np.array([[inf, 1.0, 5.0], [2.0, inf, 1.0], [inf, inf, inf]]), root_cost=10.0)
        [None, 0, 1]

    Args:
        costs: `costs[parent, child]`; infinite where there is no arc.
        root_cost: Cost of a node without parent.

    Returns:
        Parent of each node.
    """
    count = len(costs)
    full = np.full((count + 1, count + 1), np.inf)
    full[:count, :count] = costs
    full[count, :count] = root_cost
    np.fill_diagonal(full, np.inf)
    parents = _solve(full, count)
    return [None if parents[node] == count else int(parents[node]) for node in range(count)]


def _solve(costs: np.ndarray, root: int) -> np.ndarray:
    """Take every node's cheapest arc; contract a circle, solve what is left, and open the circle."""
    parents = costs.argmin(axis=0)
    parents[root] = root
    circle = _circle(parents, root)
    if not circle:
        return parents
    outside = np.array([node for node in range(len(costs)) if node not in circle])
    inside = np.array(circle)
    best = costs[parents[inside], inside]
    small = np.full((len(outside) + 1, len(outside) + 1), np.inf)
    small[:-1, :-1] = costs[outside][:, outside]
    entering = costs[outside][:, inside] - best
    small[:-1, -1] = entering.min(axis=1)
    leaving = costs[inside][:, outside]
    small[-1, :-1] = leaving.min(axis=0)
    solved = _solve(small, int(np.flatnonzero(outside == root)[0]))
    result = parents.copy()
    for place, node in enumerate(outside):
        above = solved[place]
        result[node] = inside[leaving[:, place].argmin()] if above == len(outside) else outside[above]
    source = solved[-1]
    result[inside[entering[source].argmin()]] = outside[source]
    result[root] = root
    return result


def _circle(parents: np.ndarray, root: int) -> list[int]:
    """Find nodes that are their own ancestors."""
    for start in range(len(parents)):
        seen: list[int] = []
        node = start
        while node != root and node not in seen:
            seen.append(node)
            node = int(parents[node])
        if node != root:
            return seen[seen.index(node) :]
    return []
