"""STL-10, as published: train_X.bin, train_y.bin, test_X.bin, test_y.bin."""

from pathlib import Path
from typing import Any

import numpy as np

from weightatlas.errors import DataError, FileError
from weightatlas.tasks.readers import Arrays, find, read_all
from weightatlas.tasks.task import Task, build_task, tasks

_SIDE = 96


@tasks.register("stl10-bin")
def stl10_task(path: str, **options: Any) -> Task:
    """A folder with the binary files of STL-10 (Coates et al., 2011): 13,000 images of 96 x 96 pixels."""
    folder = Path(path)
    return build_task(f"stl10-bin:{path}", read_stl10(folder, "train"), read_stl10(folder, "test"), **options)


def read_stl10(folder: Path, part: str) -> Arrays:
    """Read images (column by column in the file) and labels (1 to 10 in the file).

    Returns:
        Bytes `(images, 96, 96, 3)` and labels 0 to 9.

    Raises:
        FileError: A file is truncated.
        DataError: A file is missing, or images and labels differ in number.
    """
    where = find(folder, f"{part}_X.bin")
    data = np.frombuffer(bytearray(read_all(where)), np.uint8)
    size = 3 * _SIDE**2
    if not len(data) or len(data) % size:
        what = f"{where} has {len(data)} bytes, not a multiple of {size}."
        raise FileError(what, todo="It is truncated or damaged; copy it again.")
    images = data.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 3, 2, 1)
    labels = np.frombuffer(read_all(find(folder, f"{part}_y.bin")), np.uint8).astype(np.int64) - 1
    if len(labels) != len(images) or labels.min() < 0:
        low = int(labels.min()) + 1 if len(labels) else 0
        what = f"{where} has {len(images)} images; {part}_y.bin has {len(labels)} labels from {low}."
        raise DataError(what, todo="Expected one label per image, from 1.")
    return images, labels
