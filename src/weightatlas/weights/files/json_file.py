"""Read plain JSON parameter lists: nested lists of numbers, by name or by position."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weightatlas.errors import FileError
from weightatlas.weights.files.leaf import Leaf
from weightatlas.weights.files.zip_file import damaged

LARGEST = 40 << 20
DEEPEST = 60
DEEPEST_ARRAY = 16
MOST_CONTAINERS = 1_000_000


def read_json(path: Path) -> Any:
    """Read a JSON file; every rectangular nested list of numbers becomes a float64 tensor.

    Args:
        path: The file.

    Returns:
        Nested dictionaries and lists with a `Leaf` for each array.

    Raises:
        FileError: It is larger than 40 MB, or no JSON.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise FileError(
            f"{path} is JSON of {size:,} bytes; more than {LARGEST:,} are not read.",
            todo="Save the arrays with numpy.savez or as safetensors.",
        )
    text = path.read_bytes()
    if text.count(b"{") + text.count(b"[") > MOST_CONTAINERS:
        raise damaged(path, f"It has more than {MOST_CONTAINERS:,} lists.", "JSON file")
    try:
        content = json.loads(text.decode("utf-8-sig"), parse_int=_number)
    except RecursionError:
        raise damaged(path, "Its lists are nested too deeply.", "JSON file") from None
    except ValueError as error:
        raise damaged(path, str(error), "JSON file") from None
    if isinstance(content, dict) and "weightsManifest" in content:
        raise FileError(
            f"{path} describes a network of TensorFlow.js, which is not read.",
            where="Its weights stand in other files.",
            todo="Save the network as .keras or .h5, or export it to ONNX.",
        )
    return _arrays(content, {})


def _number(text: str) -> int | float:
    """Keep whole numbers that 64 bits hold."""
    return int(text) if len(text) < 19 else float(text)


def _arrays(value: Any, shapes: dict[int, tuple[int, ...] | None], depth: int = 0) -> Any:
    """Replace lists of numbers by tensors; shapes of lists that were looked at are kept by identity."""
    if isinstance(value, dict):
        if depth >= DEEPEST:
            return None
        return {key: _arrays(item, shapes, depth + 1) for key, item in value.items()}
    if not isinstance(value, list) or depth > DEEPEST:
        return value if not isinstance(value, list) else None
    shape = _shape(value, shapes)
    if shape is None:
        return [_arrays(item, shapes, depth + 1) for item in value]
    array = np.array(value)
    whole = array.dtype.kind in "iu" and bool((np.abs(array) > 1).any())  # sizes and counts, no weights
    tensor = torch.from_numpy(array.astype(np.int64 if whole else np.float64))
    return Leaf(shape, "int64" if whole else "float64", lambda: tensor)


def _shape(value: Any, shapes: dict[int, tuple[int, ...] | None]) -> tuple[int, ...] | None:
    """Tell the shape of a rectangular nested list of numbers; none if it is something else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return ()
    if not isinstance(value, list) or not value:
        return None
    if id(value) not in shapes:
        shapes[id(value)] = _measured(value, shapes)
    return shapes[id(value)]


def _measured(value: list[Any], shapes: dict[int, tuple[int, ...] | None]) -> tuple[int, ...] | None:
    if set(map(type, value)) <= {int, float}:
        return (len(value),)
    first = _shape(value[0], shapes)
    if first is None or len(first) > DEEPEST_ARRAY:
        return None
    same = all(_shape(item, shapes) == first for item in value[1:])
    return (len(value), *first) if same else None
