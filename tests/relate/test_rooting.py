"""Founders stand in the middle, unless arcs say otherwise."""

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
