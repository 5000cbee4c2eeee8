"""Voxels: distances with the right sign and size, duplicates once, damage named."""

from pathlib import Path

import numpy as np
import pytest
import torch

from weightatlas.errors import DataError, FileError
from weightatlas.tasks import voxels
from weightatlas.tasks.voxels import furniture_shapes, of_solids


def block(low: int, high: int) -> np.ndarray:
    solid = np.zeros((12, 12, 12), bool)
    solid[low:high, low:high, low:high] = True
    return solid


def test_distances_are_those_of_a_box():
    shapes = of_solids(block(3, 9)[None], ["box"])
    # 16 cells with the margin, 2/16 wide; the box covers cells 5 to 10: -0.375 to 0.375.
    places = torch.tensor([[[0.0, 0.0, 0.0], [0.75, 0.0, 0.0], [0.0, -0.6875, 0.0], [0.375, 0.0, 0.0]]])
    found = shapes.distance(places)[0]
    torch.testing.assert_close(found[1:3], torch.tensor([0.375, 0.3125]), atol=0.01, rtol=0)
    assert float(found[0]) < -0.25
    assert abs(float(found[3])) < 0.03


def test_axes_are_kept_in_order():
    solid = np.zeros((1, 12, 12, 12), bool)
    solid[0, 2:4, 5:7, 8:10] = True
    centre = (torch.tensor([3.0, 6.0, 9.0]) + voxels.MARGIN) * 2 / 16 - 1
    shapes = of_solids(solid, ["bar"])
    assert float(shapes.distance(centre.view(1, 1, 3))) < 0
    assert float(shapes.distance(centre.flip(0).view(1, 1, 3))) > 0.3


def test_a_shape_that_fills_its_grid_is_still_bounded():
    shapes = of_solids(np.ones((1, 12, 12, 12), bool), ["all"])
    corner = torch.full((1, 1, 3), 1.0)
    assert float(shapes.distance(corner)) > 0


def test_duplicates_are_left_out():
    solids = np.stack([block(3, 9), block(2, 9), block(3, 9)])
    shapes = of_solids(solids, ["a", "b", "a"])
    assert len(shapes) == 2
    assert shapes.labels.tolist() == [0, 1]
    assert len(set(shapes.digests)) == 2
    assert shapes.take(np.array([1])).digests == shapes.digests[1:]


def test_what_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DataError, match="Shape 0 has no solid cell"):
        of_solids(np.zeros((1, 4, 4, 4), bool), ["nothing"])
    with pytest.raises(DataError, match="1 shapes and 2 names"):
        of_solids(block(3, 9)[None], ["a", "b"])
    monkeypatch.delenv("WEIGHTATLAS_DATA", raising=False)
    furniture_shapes.cache_clear()
    with pytest.raises(DataError, match="WEIGHTATLAS_DATA is not set"):
        furniture_shapes()
    monkeypatch.setenv("WEIGHTATLAS_DATA", str(tmp_path))
    bits = np.packbits(np.stack([block(3, 9), block(2, 9), block(3, 9)]).reshape(3, -1), axis=1)
    np.savez(tmp_path / voxels.FILE, chair_solid=bits)
    assert len(furniture_shapes()) == 2
    with pytest.raises(DataError, match="no shapes of class 'monitor'"):
        furniture_shapes(("monitor",))
    furniture_shapes.cache_clear()
    (tmp_path / voxels.FILE).write_bytes(b"PK damaged")
    with pytest.raises(FileError, match="cannot be read as npz"):
        furniture_shapes()
    furniture_shapes.cache_clear()
