"""What the records of a pickled numpy array, number type or scalar mean."""

from math import prod
from typing import Any

import numpy as np
import torch

from weightatlas.weights.files.harmless import usual
from weightatlas.weights.files.leaf import Leaf
from weightatlas.weights.files.pickle_machine import Call, Named, PickleDamage

_FOREIGN = {"bfloat16": torch.bfloat16}
_FOREIGN |= {name: getattr(torch, name) for name in dir(torch) if name.startswith("float8_")}


def tensor_of(values: np.ndarray) -> torch.Tensor:
    """Copy an array of any byte order into a tensor."""
    wanted = {"f": "f8", "c": "c16"}.get(values.dtype.kind, "") if values.dtype.itemsize > 8 else ""
    wide = bool(wanted) and values.dtype.itemsize > np.dtype(wanted).itemsize  # 80-bit and 128-bit numbers
    native = values.astype(np.dtype(wanted) if wide else values.dtype.newbyteorder("="), order="C", copy=True)
    return torch.from_numpy(native)


def bytes_of(value: Any) -> bytes:
    """Find the bytes of a pickled array; protocol 2 writes them as an encoded text."""
    if isinstance(value, Call) and usual(value.function.name) == "_codecs.encode":
        value = value.arguments[0]
    if isinstance(value, str):
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError:
            raise PickleDamage("The numbers of an array are not bytes.") from None
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise PickleDamage("The numbers of an array are not bytes.")


def dtype_of(value: Any) -> np.dtype | torch.dtype | None:
    """Read a pickled number type; none if it is no type of plain numbers."""
    if not isinstance(value, Call) or not value.arguments:
        return None
    code = value.arguments[0]
    if isinstance(code, Named):
        return _FOREIGN.get(code.name.rpartition(".")[2])
    order = value.state[1] if isinstance(value.state, tuple) and len(value.state) > 1 else "="
    if (
        not isinstance(code, str)
        or len(code) > 4
        or code[:1] not in "fiubc"
        or order not in ("<", ">", "=", "|")
    ):
        return None
    try:
        return np.dtype(code).newbyteorder(order)
    except (TypeError, ValueError):
        return None


def array_of(call: Call) -> Leaf | None:
    """Describe a pickled array; none if it does not hold plain numbers."""
    last = call.function.name.rpartition(".")[2]
    if last == "_frombuffer" and len(call.arguments) >= 3:
        data, kind, shape = call.arguments[:3]
        transposed = len(call.arguments) > 3 and call.arguments[3] == "F"
    elif last == "_reconstruct" and isinstance(call.state, tuple) and len(call.state) >= 5:
        _, shape, kind, transposed, data = call.state[:5]
    else:
        return None
    dtype = dtype_of(kind)
    if dtype is None or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        return None
    if isinstance(data, Call) and data.arguments:
        data = data.arguments[0]
    return _leaf(data, dtype, shape, bool(transposed))


def number_of(call: Call) -> float | None:
    """Read a pickled numpy scalar."""
    dtype = dtype_of(call.arguments[0]) if len(call.arguments) == 2 else None
    if not isinstance(dtype, np.dtype):
        return None
    data = bytes_of(call.arguments[1])
    return np.frombuffer(data, dtype)[0].item() if len(data) == dtype.itemsize else None


def _leaf(data: Any, dtype: np.dtype | torch.dtype, shape: tuple[int, ...], transposed: bool) -> Leaf:
    """Describe an array over bytes, or over the text that stands for them."""
    if not isinstance(data, str | bytes | bytearray) or len(shape) > 32:
        raise PickleDamage("The numbers of an array are not bytes.")
    if prod(shape) * dtype.itemsize != len(data):
        raise PickleDamage(f"An array of shape {shape[:8]} does not have {len(data):,} bytes.")

    def load() -> torch.Tensor:
        numbers = bytes_of(data)
        if isinstance(dtype, torch.dtype):
            flat = torch.frombuffer(bytearray(numbers), dtype=torch.uint8) if numbers else torch.empty(0)
            flat = flat.view(dtype) if numbers else flat.to(dtype)
        else:
            flat = tensor_of(np.frombuffer(numbers, dtype))
        return (
            flat.reshape(shape[::-1]).permute(*range(len(shape))[::-1]) if transposed else flat.reshape(shape)
        )

    name = (
        str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else dtype.newbyteorder("=").name
    )
    return Leaf(shape, name, load, place=("array", id(data), name, shape, transposed))
