"""STL-10 as published: columns first in the file, labels from 1, damage."""

from pathlib import Path

import numpy as np
import pytest

from weightatlas.errors import DataError, FileError
from weightatlas.tasks import create_task

rng = np.random.default_rng(0)


def write(folder: Path, part: str, count: int) -> np.ndarray:
    """Write images (rows, columns, colors) as the files have them: colors, columns, rows."""
    images = rng.integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)
    (folder / f"{part}_X.bin").write_bytes(np.ascontiguousarray(images.transpose(0, 3, 2, 1)).tobytes())
    (folder / f"{part}_y.bin").write_bytes((1 + np.arange(count) % 10).astype(np.uint8).tobytes())
    return images


def test_images_stand_upright_and_labels_start_at_zero(tmp_path: Path) -> None:
    write(tmp_path, "train", 40)
    held = write(tmp_path, "test", 20)
    task = create_task(f"stl10-bin:{tmp_path}")
    assert (task.input_shape, task.classes) == ((3, 96, 96), 10)
    np.testing.assert_array_equal(task.images["test"][7], held[7].transpose(2, 0, 1))
    assert task.labels["test"].tolist() == list(range(10)) * 2
    assert create_task(f"stl10-bin:{tmp_path}", image_size=32).input_shape == (3, 32, 32)


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no train_X.bin"):
        create_task(f"stl10-bin:{tmp_path}")
    write(tmp_path, "train", 20)
    write(tmp_path, "test", 20)
    (tmp_path / "test_y.bin").write_bytes(bytes([1] * 19))
    with pytest.raises(DataError, match=r"20 images; test_y.bin has 19 labels"):
        create_task(f"stl10-bin:{tmp_path}")
    whole = (tmp_path / "train_X.bin").read_bytes()
    (tmp_path / "train_X.bin").write_bytes(whole[:-1])
    with pytest.raises(FileError, match="not a multiple of 27648"):
        create_task(f"stl10-bin:{tmp_path}")
