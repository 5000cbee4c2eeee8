"""The cheapest forest, also of thousands of networks."""

from itertools import product

import numpy as np
import pytest

from weightatlas.relate.arborescence import arborescence

INF = np.inf


def priced(parents, costs, root_cost):
    """Cost of a forest; infinite if it holds a circle."""
    for node in range(len(parents)):
        steps, above = 0, node
        while (above := parents[above]) is not None:
            steps += 1
            if steps > len(parents):
                return INF
    return sum(root_cost if above is None else costs[above, node] for node, above in enumerate(parents))


@pytest.mark.parametrize("whole", [False, True], ids=["real numbers", "many equal costs"])
def test_no_forest_is_cheaper(whole):
    rng = np.random.default_rng(0)
    for _ in range(40):
        costs = rng.integers(0, 4, (5, 5)).astype(float) if whole else rng.random((5, 5))
        costs[rng.random((5, 5)) < 0.3] = INF
        found = priced(arborescence(costs, 0.7), costs, 0.7)
        choices = product([None, 0, 1, 2, 3, 4], repeat=5)
        assert found == pytest.approx(min(priced(parents, costs, 0.7) for parents in choices))


def test_circles_are_opened():
    costs = np.array([[INF, 1, INF], [1, INF, 2], [9, 9, INF]])
    assert arborescence(costs, 20.0) == [None, 0, 1]
    assert arborescence(np.full((3, 3), INF), 1.0) == [None, None, None]
    assert arborescence(np.zeros((0, 0)), 1.0) == []


@pytest.mark.parametrize("fall", [0.0, 1.0], ids=["equal both ways", "a circle in every circle"])
def test_a_chain_of_thousands_needs_no_recursion(fall):
    """Every contracted circle lies in the next one: thousands of levels."""
    count = 5000
    costs, steps = np.full((count, count), INF), np.arange(count - 1)
    costs[steps, steps + 1] = 5.0
    costs[steps + 1, steps] = 5.0 - fall * (1 + steps / count)
    found = arborescence(costs, 1000.0)
    upward, downward = [*range(1, count), None], [None, *range(count - 1)]
    assert found == (upward if fall else downward)
