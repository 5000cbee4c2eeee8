"""Points of shapes: bounded, near the surface, decided by key and shape alone."""

import numpy as np
import pytest
import torch

from weightatlas.errors import DataError
from weightatlas.tasks.fields import PointConfig
from weightatlas.tasks.primitives import draw_primitives
from weightatlas.tasks.shapes import check_bounded, cube, to_surface


def test_most_points_are_near_the_surface_and_all_in_the_cube():
    shapes, keys = draw_primitives(10), torch.arange(10)
    points = shapes.points(keys, PointConfig(count=400))
    assert float(points.abs().max()) <= 1
    near = (shapes.measure(points).abs() < 0.2).float().mean(1)
    assert bool((near > 0.7).all())
    even = shapes.points(keys, PointConfig(count=400, near=0.0))
    assert float((shapes.measure(even).abs() < 0.2).float().mean()) < 0.6
    alone = shapes.take(np.array([4])).points(keys[4:5], PointConfig(count=400))
    torch.testing.assert_close(alone[0], points[4])


def test_points_move_to_the_surface():
    shapes = draw_primitives(4)
    away = torch.rand(4, 50, 3, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    before, after = shapes.measure(away).abs().mean(), shapes.measure(to_surface(shapes, away)).abs().mean()
    assert float(after) < 0.1 * float(before)


def test_unbounded_points_are_refused():
    shapes = draw_primitives(2)
    with pytest.raises(DataError, match="points were given for 3"):
        shapes.distance(torch.zeros(3, 4, 3))
    points = torch.zeros(2, 4, 3)
    assert shapes.distance(points).shape == (2, 4)
    points[1, 2, 0] = 1.5
    with pytest.raises(DataError, match=r"(?s)1 of 8 points are unbounded.*1\.5"):
        shapes.distance(points)
    with pytest.raises(DataError, match="unbounded"):
        check_bounded(torch.tensor([[0.0, float("nan"), 0.0]]))


def test_cells_of_the_cube_are_symmetric():
    cells = cube(4)
    assert cells.shape == (64, 3)
    torch.testing.assert_close(cells.mean(0), torch.zeros(3))
    assert float(cells[1, 2] - cells[0, 2]) == pytest.approx(0.5)
