"""Tensors of ONNX files: their sizes are compared with their bytes before any is read."""

from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightatlas.errors import FileError
from weightatlas.weights.files.leaf import Leaf
from weightatlas.weights.files.zip_file import damaged

# TensorProto.DataType -> torch; the packed 4-bit types have no torch type and are skipped with a reason.
_TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    4: torch.uint16,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    12: torch.uint32,
    13: torch.uint64,
    14: torch.complex64,
    15: torch.complex128,
    16: torch.bfloat16,
    17: torch.float8_e4m3fn,
    18: torch.float8_e4m3fnuz,
    19: torch.float8_e5m2,
    20: torch.float8_e5m2fnuz,
}
# Numbers of these types stand one each in `int32_data`, as their bits.
_BITS = {
    2: "u1",
    3: "i1",
    4: "u2",
    5: "i2",
    6: "i4",
    9: "u1",
    10: "u2",
    16: "u2",
    17: "u1",
    18: "u1",
    19: "u1",
    20: "u1",
}
_LISTS = {
    1: ("float_data", "f4"),
    7: ("int64_data", "i8"),
    11: ("double_data", "f8"),
    12: ("uint64_data", "u4"),
    13: ("uint64_data", "u8"),
}


def text(value: str | bytes) -> str:
    """Read a name; damaged ones come as bytes.

    Example:
        >>> text(b"conv\\xff")
        'conv\ufffd'
    """
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class Initializers:
    """Describes stored tensors after comparing the sizes they declare with the bytes they have.

    Args:
        path: The ONNX file.
        stored: Name -> its record of a tensor. Files that such records point to are listed in `beside`.
    """

    def __init__(self, path: Path, stored: dict[str, Any]) -> None:
        self.path, self.stored = path, stored
        self.beside: dict[str, None] = {}

    def leaf(self, name: str) -> Leaf | str:
        """Describe one tensor, or say why it cannot be read."""
        tensor = self.stored[name]
        kind = _TYPES.get(tensor.data_type)
        if kind is None:
            return f"its number type {tensor.data_type} is not known here"
        shape = tuple(tensor.dims)
        if len(shape) > 32 or any(size < 0 for size in shape):
            raise damaged(self.path, f"'{name}' has shape {shape[:8]}.", "ONNX file")
        size, load = self._source(name, tensor, kind)
        if size != prod(shape) * kind.itemsize:
            reason = (
                f"'{name}' of shape {shape[:8]} needs {prod(shape) * kind.itemsize:,} bytes; it has {size:,}."
            )
            raise damaged(self.path, reason, "ONNX file")
        return Leaf(shape, str(kind).removeprefix("torch."), partial(_read, load, kind, shape))

    def _source(self, name: str, tensor: Any, kind: torch.dtype) -> tuple[int, Callable[[], bytes]]:
        if tensor.data_location == 1:
            return self._beside(
                name, {text(item.key): text(item.value) for item in tensor.external_data}, tensor, kind
            )
        if tensor.HasField("raw_data"):
            return len(tensor.raw_data), lambda: tensor.raw_data
        return _typed(tensor, kind)

    def _beside(
        self, name: str, entry: dict[str, str], tensor: Any, kind: torch.dtype
    ) -> tuple[int, Callable[[], bytes]]:
        """Find numbers in a file beside this one, and nowhere else."""
        folder = self.path.parent.resolve()
        place = entry.get("location", "")
        other = (folder / place).resolve() if place and "\0" not in place else folder
        # A download cache links files of one folder into another: the target of the file itself counts too.
        inside = other.is_relative_to(folder) or other.parent == self.path.resolve().parent
        if not inside or ".." in Path(place).parts or not other.is_file():
            what = "is missing" if inside else "is outside its folder and was not opened"
            raise FileError(
                f"{self.path} keeps '{name}' in the file '{place[:200]}', which {what}.",
                todo="Put the file beside it, under this name." if "missing" in what else "",
            )
        try:
            start, length = int(entry.get("offset", 0)), int(entry.get("length", -1))
        except ValueError:
            raise damaged(self.path, f"'{name}' has no place in '{place[:200]}'.", "ONNX file") from None
        length = length if length >= 0 else prod(tensor.dims) * kind.itemsize
        if start < 0 or start + length > other.stat().st_size:
            have = (
                f"{place[:200]} has {other.stat().st_size:,} bytes, '{name}' ends at byte {start + length:,}."
            )
            raise damaged(self.path, have, "ONNX file")
        self.beside[place] = None
        return length, partial(_part, other, start, length)


def _part(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def _typed(tensor: Any, kind: torch.dtype) -> tuple[int, Callable[[], bytes]]:
    """Numbers that stand in a typed list of the protocol buffer."""
    code = tensor.data_type
    if code in (14, 15):
        field, width = ("float_data", "f4") if code == 14 else ("double_data", "f8")
        values = getattr(tensor, field)
        return len(values) * kind.itemsize // 2, lambda: np.array(values, f"<{width}").tobytes()
    if code in _LISTS:
        field, width = _LISTS[code]
        values = getattr(tensor, field)
        return len(values) * kind.itemsize, lambda: np.array(values, f"<{width}").tobytes()
    values, width = tensor.int32_data, _BITS[code]
    return len(values) * kind.itemsize, lambda: np.array(values, "<i8").astype(f"<{width}").tobytes()


def _read(load: Callable[[], bytes], kind: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    data = bytearray(load())
    flat = torch.frombuffer(data, dtype=torch.uint8).view(kind) if data else torch.empty(0, dtype=kind)
    return flat.reshape(shape)
