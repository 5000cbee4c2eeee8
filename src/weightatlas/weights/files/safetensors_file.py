"""Read safetensors files."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from weightatlas.errors import FileError
from weightatlas.weights.files.leaf import Leaf
from weightatlas.weights.files.zip_file import damaged

_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
}
_INSIDE = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def read_safetensors(path: Path) -> tuple[dict[str, Leaf], dict[str, str]]:
    """Describe all tensors of a safetensors file; each is read when it is wanted.

    The format keeps no order of layers: names come in natural order (`2` before `10`), and within a layer
    weight, bias and running statistics as in a state dict.

    Args:
        path: The file.

    Returns:
        Name -> tensor, and the texts of the file's metadata.

    Raises:
        FileError: The file is truncated or damaged.
    """
    from safetensors import SafetensorError, safe_open

    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length + 8 > size:
        reason = f"Its header should have {length:,} bytes; the whole file has {size:,}."
        raise damaged(path, reason, "safetensors file")
    try:
        opened = safe_open(path, framework="pt")
        tensors = {name: opened.get_slice(name) for name in sorted(opened.keys(), key=natural)}
        leaves = {
            name: Leaf(
                tuple(part.get_shape()),
                _TYPES.get(str(part.get_dtype()), str(part.get_dtype())),
                partial(_load, path, opened.get_tensor, name),
            )
            for name, part in tensors.items()
        }
        metadata = {str(key): str(value) for key, value in (opened.metadata() or {}).items()}
    except (SafetensorError, OSError, ValueError, KeyError, OverflowError) as error:
        raise damaged(path, _explained(path, length, str(error)), "safetensors file") from None
    return leaves, metadata


def natural(name: str) -> tuple[list[tuple[int, int, str]], int, str]:
    """Sort key of a tensor's name: numbers by value, weight before bias.

    Example:
        >>> sorted(["10.weight", "2.bias", "2.weight"], key=natural)
        ['2.weight', '2.bias', '10.weight']
    """
    module, _, last = name.rpartition(".")
    parts = [
        (0, int(part[:18]), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)|\.", module)
        if part
    ]
    return parts, _INSIDE.index(last) if last in _INSIDE else len(_INSIDE), last


def _load(path: Path, get: Callable[[str], Any], name: str) -> Any:
    from safetensors import SafetensorError

    try:
        return get(name)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise FileError(f"'{name}' in {path} cannot be read.", where=str(error)[:300]) from None


def _explained(path: Path, length: int, reason: str) -> str:
    """Add to the library's reason where the tensors should end, if the header can be read."""
    try:
        with path.open("rb") as file:
            file.seek(8)
            header = json.loads(file.read(min(length, 100 << 20)))
        end = (
            8
            + length
            + max(entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__")
        )
    except (ValueError, TypeError, KeyError, LookupError, OSError, RecursionError, AttributeError):
        return reason
    size = path.stat().st_size
    return f"Its tensors should end at byte {end:,}; the file has {size:,} bytes." if end != size else reason
