"""Primitives: distances against independent formulas, all kinds, unbounded ones refused."""

import math

import numpy as np
import pytest
import torch

from weightatlas.errors import DataError
from weightatlas.tasks.primitives import KINDS, Primitives, draw_primitives
from weightatlas.tasks.shapes import cube


def one(kind: str, *sizes: float) -> Primitives:
    padded = torch.tensor([[*sizes, *[0.0] * (6 - len(sizes))]])
    return Primitives(np.array([list(KINDS).index(kind)]), padded, torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("kind", "sizes", "place", "expected"),
    [
        ("sphere", (0.5,), (0.0, 0.0, 0.9), 0.4),
        ("sphere", (0.5,), (0.1, 0.0, 0.0), -0.4),
        ("box", (0.2, 0.3, 0.4), (0.5, 0.0, 0.0), 0.3),
        ("box", (0.2, 0.3, 0.4), (0.5, 0.7, 0.0), 0.5),
        ("box", (0.2, 0.3, 0.4), (0.1, 0.0, 0.0), -0.1),
        ("torus", (0.5, 0.2), (0.5, 0.0, 0.0), -0.2),
        ("torus", (0.5, 0.2), (0.0, 0.0, 0.0), 0.3),
        ("cylinder", (0.3, 0.5), (0.6, 0.0, 0.9), 0.5),
        ("cylinder", (0.3, 0.5), (0.0, 0.0, 0.4), -0.1),
        ("union", (0.4, 0.4, 0.2, 0.3), (0.0, 0.0, 0.7), 0.2),
        ("union", (0.4, 0.4, 0.2, 0.3), (0.7, 0.0, 0.0), 0.3),
    ],
)
def test_distances_are_exact(kind, sizes, place, expected):
    found = one(kind, *sizes).distance(torch.tensor([[place]]))
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_volumes_are_those_of_the_formulas():
    inside = {
        "sphere": (one("sphere", 0.6), 4 / 3 * math.pi * 0.6**3),
        "torus": (one("torus", 0.5, 0.2), 2 * math.pi**2 * 0.5 * 0.2**2),
        "cylinder": (one("cylinder", 0.4, 0.6), math.pi * 0.4**2 * 1.2),
    }
    cells = cube(48)[None]
    for shape, volume in inside.values():
        assert float((shape.measure(cells) < 0).float().mean()) * 8 == pytest.approx(volume, rel=0.06)


def test_more_shapes_change_none():
    few, many = draw_primitives(7, seed=3), draw_primitives(20, seed=3)
    assert few.digests == many.digests[:7]
    assert len(set(many.digests)) == 20
    assert draw_primitives(7, seed=4).digests[0] != few.digests[0]
    assert set(many.labels.tolist()) == set(range(5))


def test_unbounded_shapes_are_refused():
    with pytest.raises(DataError, match=r"Shape 0, a sphere, is unbounded"):
        one("sphere", 1.2)
    with pytest.raises(DataError, match="a cylinder, is unbounded"):
        one("cylinder", 0.3, float("nan"))
