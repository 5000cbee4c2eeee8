"""Cheapest family forest: every node gets one parent or is a root (Chu & Liu, 1965; Edmonds, 1967)."""

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import numpy as np
from jaxtyping import Float

_Arc = tuple[float, int, int]  # cost, parent, child; among equals the smaller number of the parent goes first


def arborescence(costs: Float[np.ndarray, "nodes nodes"], root_cost: float) -> list[int | None]:
    """Choose a parent for every node, or none: the smallest sum of costs without a circle.

    Takes m log² m steps for m finite arcs: circles are contracted as they are met, on one growing path, with
    a heap of entering arcs for each node (Gabow, Galil, Spencer & Tarjan, 1986, with simpler heaps).

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
    entering: list[list[_Arc]] = [[(root_cost, count, node)] for node in range(count)]
    for parent, child in np.argwhere(np.isfinite(costs)).tolist():
        if parent != child:
            entering[child].append((float(costs[parent, child]), parent, child))
    work = _Contraction([*entering, []])
    for node in range(count):
        work.grow(node)
    parents = work.opened()
    return [None if parents[node] == count else parents[node] for node in range(count)]


@dataclass
class _Contraction:
    """Nodes and the circles they were contracted to; the last of the first nodes is the root of all.

    Args:
        heaps: Arcs that enter each node; `less` is to be added to their costs.
        less: What the arcs of a node were made cheaper by.
        above: What each node was contracted to, or itself.
        short: The same, with steps left out.
        members: Nodes of each circle, none for single nodes.
        chosen: The cheapest arc into each node.
        done: Nodes that hang from the root by chosen arcs.
    """

    heaps: list[list[_Arc]]
    less: list[float] = field(default_factory=list)
    above: list[int] = field(default_factory=list)
    short: list[int] = field(default_factory=list)
    members: list[tuple[int, ...]] = field(default_factory=list)
    chosen: list[_Arc | None] = field(default_factory=list)
    done: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        size = len(self.heaps)
        for heap in self.heaps:
            heapify(heap)
        self.less, self.members, self.chosen = [0.0] * size, [()] * size, [None] * size
        self.above, self.short, self.done = list(range(size)), list(range(size)), {size - 1}

    def grow(self, node: int) -> None:
        """Follow cheapest arcs against their direction to what is done; contract circles on the way."""
        node = self._top(node)
        path, place = [], {}
        while node not in self.done:
            place[node] = len(path)
            path.append(node)
            arc = self.chosen[node] = self._cheapest(node)
            source = self._top(arc[1])
            if source in place:
                circle = path[place[source] :]
                del path[place[source] :]
                source = self._contract(circle)
            node = source
        self.done.update(path)

    def _cheapest(self, node: int) -> _Arc:
        """Take the cheapest arc that comes from elsewhere; the others get cheaper by as much."""
        heap = self.heaps[node]
        while self._top(heap[0][1]) == node:
            heappop(heap)
        self.less[node] = -heap[0][0]
        return heappop(heap)

    def _contract(self, circle: list[int]) -> int:
        """Make one node of a circle: smaller heaps go into the largest."""
        new = len(self.above)
        largest = max(circle, key=lambda node: len(self.heaps[node]))
        heap, less = self.heaps[largest], self.less[largest]
        for node in circle:
            self.above[node] = self.short[node] = new
            for cost, parent, child in self.heaps[node] if node != largest else ():
                heappush(heap, (cost + self.less[node] - less, parent, child))
        self.heaps.append(heap)
        self.less.append(less)
        self.members.append(tuple(circle))
        self.chosen.append(None)
        self.above.append(new)
        self.short.append(new)
        return new

    def _top(self, node: int) -> int:
        """Find what a node has been contracted to in the end."""
        short, way = self.short, []
        while short[node] != node:
            way.append(node)
            node = short[node]
        for passed in way:
            short[passed] = node
        return node

    def opened(self) -> list[int]:
        """Open all circles, the last ones first: one member of each keeps the arc that enters the circle."""
        parents = [-1] * len(self.chosen)
        waiting = [node for node, above in enumerate(self.above) if node == above]
        while waiting:
            node = waiting.pop()
            arc = self.chosen[node]
            if arc is None:
                continue
            _, parents[arc[2]], inner = arc
            while inner != node:
                circle = self.above[inner]
                waiting += [member for member in self.members[circle] if member != inner]
                inner = circle
        return parents
