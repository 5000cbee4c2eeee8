"""Read .npy and .npz files, never their pickled objects."""

import warnings
from io import BufferedIOBase, BytesIO
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch

from weightatlas.errors import FileError
from weightatlas.weights.files.leaf import Leaf
from weightatlas.weights.files.numpy_values import tensor_of
from weightatlas.weights.files.torch_values import Opaque
from weightatlas.weights.files.zip_file import Archive, damaged

MOST_ARRAYS = 20_000
_DAMAGE = (
    ValueError,
    TypeError,
    EOFError,
    OSError,
    SyntaxError,
    LookupError,
    MemoryError,
    RecursionError,
    TokenError,
)
LONGEST = 2**40  # entries of an axis; empty arrays may claim axes whose product no tensor can count


def read_npz(archive: Archive) -> dict[str, Leaf | Opaque]:
    """Describe all arrays of an .npz file; each is read when it is wanted.

    Args:
        archive: The open file.

    Raises:
        FileError: An array is damaged.
    """
    if len(archive.names) > MOST_ARRAYS:
        raise damaged(archive.path, f"It has {len(archive.names):,} arrays.", "numpy file")
    found: dict[str, Leaf | Opaque] = {}
    for name in archive.names:
        if not name.endswith(".npy"):
            found[name] = Opaque("not an array")
            continue
        header = _header(archive.path, BytesIO(archive.head(name)), archive.sizes[name])
        found[name.removesuffix(".npy")] = _leaf(header, lambda name=name: bytes(archive.read(name)))
    return found


def read_npy(path: Path) -> dict[str, Leaf | Opaque]:
    """Describe the array of an .npy file under the name "array".

    Raises:
        FileError: It is damaged.
    """
    with path.open("rb") as file:
        header = _header(path, file, path.stat().st_size)
    if header is None:
        raise FileError(
            f"{path} holds pickled Python objects: opening it would run code, so it was not opened.",
            where="Its number type is object.",
            todo="Where you trust it, load it yourself and save its arrays with numpy.savez.",
        )
    return {"array": _leaf(header, path.read_bytes)}


def _header(
    path: Path, file: BufferedIOBase, size: int
) -> tuple[tuple[int, ...], bool, np.dtype, int] | None:
    """Read shape, order, number type and start of the numbers; none if the file holds objects."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers written by Python 2
            shape, fortran, dtype = _described(file)
        start = file.tell()
    except _DAMAGE as error:
        raise damaged(path, str(error), "numpy file") from None
    if dtype.hasobject:
        return None
    if len(shape) > 32 or not all(type(n) is int and 0 <= n < LONGEST for n in shape):
        raise damaged(path, f"It has an array of shape {shape}.", "numpy file")
    if prod(shape) * dtype.itemsize != size - start:
        needed = f"{prod(shape) * dtype.itemsize:,} bytes; it has {size - start:,}"
        raise damaged(path, f"An array of shape {shape[:8]} and type {dtype} needs {needed}.", "numpy file")
    return shape, fortran, dtype, start


def _described(file: BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _leaf(header: tuple[tuple[int, ...], bool, np.dtype, int] | None, read: Any) -> Leaf | Opaque:
    """Describe one array; texts, times and records are no tensors, two-byte voids are bfloat16."""
    if header is None:
        return Opaque("pickled objects")
    shape, fortran, dtype, start = header
    half = dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None
    if dtype.kind not in "fiubc" and not half:
        return Opaque(f"array of {dtype}"[:60])

    def load() -> torch.Tensor:
        data = np.frombuffer(read(), np.uint8, offset=start)
        flat = tensor_of(data).view(torch.bfloat16) if half else tensor_of(data.view(dtype))
        return flat.reshape(shape[::-1]).permute(*range(len(shape))[::-1]) if fortran else flat.reshape(shape)

    return Leaf(tuple(shape), "bfloat16" if half else dtype.newbyteorder("=").name, load)
