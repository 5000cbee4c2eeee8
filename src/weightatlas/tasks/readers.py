"""Data files -> image and label arrays: npz, IDX (MNIST), binary CIFAR. Nothing is unpickled."""

import gzip
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from weightatlas.errors import DataError, FileError, gather
from weightatlas.tasks.task import Task, build_task, tasks

Arrays = tuple[np.ndarray, np.ndarray]

_CIFAR = {
    "cifar10-bin": (1, [f"data_batch_{i}.bin" for i in range(1, 6)], "test_batch.bin"),
    "cifar100-bin": (2, ["train.bin"], "test.bin"),
}


@tasks.register("npz")
def npz_task(path: str, **options: Any) -> Task:
    """Any `.npz` with `x_train`, `y_train` and, if there are official test images, `x_test`, `y_test`."""
    return build_task(f"npz:{path}", *read_npz(Path(path)), **options)


@tasks.register("mnist-idx")
def mnist_idx_task(path: str, **options: Any) -> Task:
    """A folder with the four IDX files of MNIST, Fashion-MNIST or a relative, plain or gzipped."""
    folder = Path(path)
    arrays = [
        read_idx(find(folder, f"{part}-{kind}-ubyte"))
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    train, test = (arrays[0], arrays[1].astype(np.int64)), (arrays[2], arrays[3].astype(np.int64))
    return build_task(f"mnist-idx:{path}", train, test, **options)


@tasks.register("cifar10-bin")
def cifar10_task(path: str, **options: Any) -> Task:
    """A folder with the binary version of CIFAR-10."""
    return _cifar("cifar10-bin", path, options)


@tasks.register("cifar100-bin")
def cifar100_task(path: str, **options: Any) -> Task:
    """A folder with the binary version of CIFAR-100; labels are the 100 fine ones."""
    return _cifar("cifar100-bin", path, options)


def _cifar(name: str, path: str, options: dict[str, Any]) -> Task:
    label_bytes, train_files, test_file = _CIFAR[name]
    parts = [read_cifar(find(Path(path), file), label_bytes) for file in train_files]
    train = (np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))
    return build_task(
        f"{name}:{path}", train, read_cifar(find(Path(path), test_file), label_bytes), **options
    )


def read_npz(path: Path) -> tuple[Arrays, Arrays | None]:
    """Read training and test images and labels of an npz file.

    Raises:
        DataError: The file or an array is missing.
        FileError: The file is damaged or holds pickled objects.
    """
    try:
        with open(path, "rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("it holds a single array")
            missing = [f"there is no array '{key}'" for key in ("x_train", "y_train") if key not in file]
            gather(DataError, missing, where=f"In {path}, which holds {', '.join(file)}.")
            train = (file["x_train"], file["y_train"])
            return train, (file["x_test"], file["y_test"]) if "x_test" in file else None
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.", todo="Check the path.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        todo = "Copy it again; arrays must be plain numbers, not objects."
        raise FileError(f"{path} cannot be read as npz: {error}.", todo=todo) from None


def read_idx(path: Path) -> np.ndarray:
    """Read one IDX file of bytes (LeCun's format for MNIST), gzipped if it ends in .gz.

    Raises:
        FileError: The file is truncated or no IDX file.
    """
    data = read_all(path)
    rank = data[3] if len(data) > 4 else 0
    if len(data) < 4 + 4 * rank or data[:3] != b"\x00\x00\x08" or not rank:
        raise FileError(f"{path} is not an IDX file of bytes.", todo="Copy it again.")
    shape = tuple(np.frombuffer(data, ">u4", rank, 4).astype(int))
    expected = 4 + 4 * rank + int(np.prod(shape))
    if len(data) != expected:
        raise FileError(
            f"{path} has {len(data)} bytes, its header promises {expected}.",
            todo="It is truncated or damaged; copy it again.",
        )
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_cifar(path: Path, label_bytes: int) -> Arrays:
    """Read one binary CIFAR file: rows of label bytes and 3 x 32 x 32 pixels.

    Raises:
        FileError: The file is truncated.
    """
    data = np.frombuffer(bytearray(read_all(path)), np.uint8)  # writable, as torch wants it
    row = label_bytes + 3072
    if len(data) == 0 or len(data) % row:
        raise FileError(
            f"{path} has {len(data)} bytes, not a multiple of {row}.",
            todo="It is truncated or damaged; copy it again.",
        )
    rows = data.reshape(-1, row)
    images = rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, rows[:, label_bytes - 1].astype(np.int64)


def find(folder: Path, name: str) -> Path:
    """Find a data file, plain or gzipped.

    Raises:
        DataError: It is not there.
    """
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise DataError(f"There is no {name} or {name}.gz in {folder}.", todo="Check the folder.")


def read_all(path: Path) -> bytes:
    """Read a whole file, unpacking gzip."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                return file.read()
        return path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path} cannot be read: {error}.", todo="Copy it again.") from None
