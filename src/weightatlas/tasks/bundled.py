"""Tasks by short name: scikit-learn's digits, and files in the folder $WEIGHTATLAS_DATA."""

import os
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from weightatlas.errors import DataError
from weightatlas.tasks.readers import read_npz
from weightatlas.tasks.task import Task, build_task, tasks
from weightatlas.tasks.tracks import sign_groups

FILES = {
    "mnist": "mnist.npz",
    "fashion_mnist": "fashion_mnist.npz",
    "cifar10": "cifar10_20k.npz",
    "cifar100": "cifar100_9k.npz",
    "emnist_letters": "emnist_letters_18k.npz",
    "gtsrb": "gtsrb32_8k.npz",
    "tinyimagenet20": "tinyimagenet32_20c.npz",
}
GROUPS = {"gtsrb": sign_groups}  # of data whose images are not independent of each other


@tasks.register("digits")
def digits_task(**options: Any) -> Task:
    """The 1,797 digits of 8x8 pixels that come with scikit-learn: 1,079 train, 359 val, 359 test."""
    return _digits(tuple(sorted(options.items())))


@lru_cache(maxsize=4)
def _digits(options: tuple[tuple[str, Any], ...]) -> Task:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = np.asarray(bunch["images"]).astype(np.uint8)
    labels = np.asarray(bunch["target"]).astype(np.int64)
    fixed: dict[str, Any] = {"val_share": 0.2, "scale": 16.0}
    task = build_task("digits", (images, labels), None, **fixed, **dict(options))
    return replace(task, options={key: value for key, value in task.options.items() if key not in fixed})


def named_task(name: str, **options: Any) -> Task:
    """A data set whose file lies in the folder that $WEIGHTATLAS_DATA names.

    Raises:
        DataError: The variable is not set, or the file is not there.
    """
    return _named(name, str(data_file(name)), tuple(sorted(options.items())))


@lru_cache(maxsize=4)
def _named(name: str, path: str, options: tuple[tuple[str, Any], ...]) -> Task:
    train, test = read_npz(Path(path))
    groups = GROUPS[name](*train) if name in GROUPS else None
    return build_task(name, train, test, groups=groups, **dict(options))


def data_file(name: str, file: str = "") -> Path:
    """Path of the file of a named data set; `file` names those that are no tasks."""
    folder, file = os.environ.get("WEIGHTATLAS_DATA"), file or FILES[name]
    if not folder:
        raise DataError(
            f"The task '{name}' needs image data, but $WEIGHTATLAS_DATA is not set.",
            todo=f"Set it to a folder that holds {file}, or use 'npz:PATH' or 'digits'.",
        )
    path = Path(folder) / file
    if not path.is_file():
        raise DataError(
            f"The task '{name}' needs {path}, which is not there.",
            where=f"$WEIGHTATLAS_DATA is {folder}.",
            todo="Put the file there, or use 'npz:PATH' with your own copy.",
        )
    return path


for _name in FILES:
    tasks.register(_name)(partial(named_task, _name))
