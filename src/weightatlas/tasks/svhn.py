"""Street View House Numbers, as published: train_32x32.mat and test_32x32.mat (MATLAB 5)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from weightatlas.errors import DataError, FileError
from weightatlas.tasks.readers import Arrays, find
from weightatlas.tasks.task import Task, build_task, tasks


@tasks.register("svhn-mat")
def svhn_task(path: str, extra: bool = False, **options: Any) -> Task:
    """A folder with train_32x32.mat and test_32x32.mat (Netzer et al., 2011), cropped digits.

    Args:
        path: The folder.
        extra: Add extra_32x32.mat to the training images.
        options: See `create_task`.
    """
    folder = Path(path)
    parts = [read_mat(find(folder, "train_32x32.mat"))]
    if extra:
        parts.append(read_mat(find(folder, "extra_32x32.mat")))
    train = (np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))
    task = build_task(f"svhn-mat:{path}", train, read_mat(find(folder, "test_32x32.mat")), **options)
    return replace(task, options={**task.options, "extra": True}) if extra else task


def read_mat(path: Path) -> Arrays:
    """Read one .mat file: `X` (32, 32, 3, images) and `y` with 10 for the digit 0.

    Returns:
        Bytes `(images, 32, 32, 3)` and labels 0 to 9.

    Raises:
        FileError: It is damaged, or of MATLAB 7.3.
        DataError: X and y are missing or do not fit each other.
    """
    from scipy.io import loadmat

    try:
        content: Any = loadmat(path)
    except NotImplementedError:
        todo = "Save it with -v7, or use the published file."
        raise FileError(f"{path} is a MATLAB 7.3 file, which is not read.", todo=todo) from None
    except Exception as error:  # The parser raises whatever damaged bytes lead to.
        raise FileError(f"{path} cannot be read as .mat: {error}.", todo="Copy it again.") from None
    images, labels = content.get("X"), content.get("y")
    if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray):
        names = ", ".join(name for name in content if not name.startswith("_")) or "nothing"
        raise DataError(f"{path} has no arrays X and y; it holds {names}.", todo="Use the cropped digits.")
    labels = labels.reshape(-1)
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] != len(labels):
        what = f"{path} has X {images.dtype} {images.shape} and {len(labels)} labels."
        raise DataError(what, todo="Expected bytes (32, 32, 3, images); use the cropped digits.")
    return images.transpose(3, 0, 1, 2), labels.astype(np.int64) % 10
