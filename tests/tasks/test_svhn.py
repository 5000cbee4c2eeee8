"""SVHN as published: axes, the digit 0, both parts, damage."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from weightatlas.errors import DataError, FileError
from weightatlas.tasks import create_task

rng = np.random.default_rng(0)


def write(folder: Path, part: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Write one file as published: images along the last axis, labels 1 to 10 in a column."""
    images = rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
    labels = (1 + np.arange(count) % 10).astype(np.uint8)[:, None]
    savemat(folder / f"{part}_32x32.mat", {"X": images, "y": labels})
    return images, labels


def test_images_and_digits(tmp_path: Path) -> None:
    images, _ = write(tmp_path, "train", 100)
    held, _ = write(tmp_path, "test", 20)
    task = create_task(f"svhn-mat:{tmp_path}")
    assert (task.input_shape, task.classes) == ((3, 32, 32), 10)
    assert {part: len(labels) for part, labels in task.labels.items()} == {"train": 90, "val": 10, "test": 20}
    assert task.labels["test"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2
    np.testing.assert_array_equal(task.images["test"][3], held[..., 3].transpose(2, 0, 1))
    kept = {image.tobytes() for part in ("train", "val") for image in task.images[part]}
    assert kept == {np.ascontiguousarray(images[..., k].transpose(2, 0, 1)).tobytes() for k in range(100)}


def test_extra_images_join_the_training_images_and_are_remembered(tmp_path: Path) -> None:
    for part, count in (("train", 40), ("test", 20), ("extra", 60)):
        write(tmp_path, part, count)
    task = create_task(f"svhn-mat:{tmp_path}", extra=True)
    assert len(task.labels["train"]) + len(task.labels["val"]) == 100
    assert create_task(task.name, **task.options).sha256 == task.sha256


def test_damage_and_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no train_32x32.mat"):
        create_task(f"svhn-mat:{tmp_path}")
    write(tmp_path, "test", 20)
    write(tmp_path, "train", 20)
    file = tmp_path / "train_32x32.mat"
    whole = file.read_bytes()
    file.write_bytes(whole[:5000])
    with pytest.raises(FileError, match=r"cannot be read as .mat"):
        create_task(f"svhn-mat:{tmp_path}")
    file.write_bytes(b"not MATLAB at all" * 20)
    with pytest.raises(FileError, match=r"train_32x32.mat"):
        create_task(f"svhn-mat:{tmp_path}")
    savemat(file, {"digitStruct": np.ones(3)})
    with pytest.raises(DataError, match="it holds digitStruct"):
        create_task(f"svhn-mat:{tmp_path}")
    savemat(file, {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.ones(3)})
    with pytest.raises(DataError, match="3 labels"):
        create_task(f"svhn-mat:{tmp_path}")
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(200)
    file.write_bytes(header)
    with pytest.raises(FileError, match=r"MATLAB 7.3"):
        create_task(f"svhn-mat:{tmp_path}")
