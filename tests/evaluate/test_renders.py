"""Pictures are made, and rows and columns are where they should be."""

from pathlib import Path

import numpy as np

from weightatlas.evaluate.meshes import mesh_of
from weightatlas.evaluate.renders import draw_images, draw_meshes
from weightatlas.tasks.shapes import cube


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)[..., :3]


def test_meshes_are_drawn_where_they_are_and_blanks_stay_white(tmp_path: Path):
    ball = mesh_of(cube(12).norm(dim=1).view(12, 12, 12) - 0.5)
    picture = pixels(draw_meshes(tmp_path / "a.png", {"first": [ball, None], "second": [ball, ball]}))
    height, width, _ = picture.shape
    blue = picture[..., 2] - picture[..., 0] > 0.1
    parts = blue[height // 2 :, : width // 2], blue[: height // 2, width // 2 :]
    assert parts[0].mean() > 0.1
    assert parts[1].mean() == 0


def test_images_are_drawn_bright_and_dark(tmp_path: Path):
    images = np.stack([np.full((4, 4), -1.0), np.full((4, 4), 1.0)])
    picture = pixels(draw_images(tmp_path / "b.png", {"only": images}))
    row = picture[picture.shape[0] // 2 + 10].mean(1)
    assert row[len(row) // 4] < 0.1
    assert row[3 * len(row) // 4] > 0.9
