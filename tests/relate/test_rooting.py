"""Founders stand in the middle, unless arcs say otherwise."""

from math import factorial, log, prod

import numpy as np

from weightatlas.relate.rooting import rooted

FREE = np.zeros((7, 7))


def test_a_family_hangs_from_its_middle() -> None:
    assert rooted([None, 0, 1, 2, 3, None, 5], FREE) == [1, 2, None, 2, 3, None, 5]
    assert rooted([6, 6, 6, 6, 6, 6, None], FREE) == [6, 6, 6, 6, 6, 6, None]
    assert rooted([None, 0, 1, 1, 1, 1, 1], FREE) == [1, None, 1, 1, 1, 1, 1]


def test_an_arc_that_has_one_direction_keeps_it() -> None:
    costs = FREE.copy()
    costs[1, 0] = 50.0  # 0 was not made from 1
    assert rooted([None, 0, 1, 1, 1, 1, 1], costs) == [None, 0, 1, 1, 1, 1, 1]


def test_averages_keep_their_place() -> None:
    assert rooted([None, 0, 0, None], np.zeros((4, 4)), fixed={3}) == [None, 0, 0, None]
    assert rooted([1, None, None, 3], np.zeros((4, 4)), fixed={3}) == [1, None, None, 3]
    assert rooted([None] * 3, np.zeros((3, 3))) == [None] * 3


def test_children_of_an_average_stay_below_it() -> None:
    """An average has found its parents already, so nothing above it can be turned."""
    assert rooted([None, 0, 0, 2, 3, 3, 3], FREE, fixed={2}) == [None, 0, 0, 2, 3, 3, 3]


def orders(parents: list[int | None]) -> int:
    """Number of orders in which a tree can grow."""
    sizes = [1] * len(parents)
    for node in range(len(parents)):
        above = node
        while (above := parents[above]) is not None:
            sizes[above] += 1
    return factorial(len(parents)) // prod(sizes)


def hung(parents: list[int | None], root: int) -> list[int | None]:
    """Turn the arcs between a node and the root."""
    found, node, above = list(parents), root, None
    while node is not None:
        found[node], above, node = above, node, parents[node]
    return found


def test_no_other_root_is_likelier() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        costs = 3 * rng.random((9, 9))
        parents = [None, *(int(rng.integers(node)) for node in range(1, 9))]
        every = [hung(parents, root) for root in range(9)]
        totals = [
            sum(costs[above, node] for node, above in enumerate(tree) if above is not None)
            - log(orders(tree))
            for tree in every
        ]
        assert rooted(parents, costs) == every[int(np.argmin(totals))]
        costs[int(parents[5]), 5], costs[5, int(parents[5])] = 0.0, np.inf
        kept = rooted(parents, costs)
        assert kept[5] == parents[5]


def test_thousands_of_generations_hang_from_their_middle() -> None:
    count = 5000
    found = rooted([None, *range(count - 1)], np.zeros((count, count)))
    assert found.index(None) == (count - 1) // 2
