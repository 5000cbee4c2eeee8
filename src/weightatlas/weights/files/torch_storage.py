"""What a torch pickle says of a storage: a run of numbers that stands outside the pickle."""

from dataclasses import dataclass
from typing import Any

import torch

from weightatlas.weights.files.harmless import is_storage
from weightatlas.weights.files.pickle_machine import LONGEST_NAME, Named, Persistent, PickleDamage

_STORED = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "QInt8Storage": torch.qint8,
    "QUInt8Storage": torch.quint8,
    "QInt32Storage": torch.qint32,
    "UntypedStorage": torch.uint8,
}
PLAIN_OF = {torch.qint8: torch.int8, torch.quint8: torch.uint8, torch.qint32: torch.int32}
"""Types that hold the integers of quantized ones."""


@dataclass(frozen=True)
class Storage:
    """A run of numbers outside the pickle.

    Args:
        key: Its name in the file.
        dtype: Type of its numbers.
        count: How many numbers the pickle says it has.
        start: Where it begins in the storage named `key`, in numbers.
    """

    key: str
    dtype: torch.dtype
    count: int
    start: int = 0


def described(reference: Any) -> tuple[Storage, int]:
    """Read the reference to a storage.

    Args:
        reference: What stands in the pickle in its place.

    Returns:
        The storage, or the view of it, and how many numbers the whole one is said to have.

    Raises:
        PickleDamage: It is no reference to a storage.
    """
    key = reference.key if isinstance(reference, Persistent) else None
    if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage":
        raise PickleDamage("A tensor has no storage.")
    _, kind, name, _, whole, *view = key
    if not isinstance(name, str | int) or len(str(name)) > LONGEST_NAME:
        raise PickleDamage("A storage has no name.")
    if not isinstance(kind, Named) or not is_storage(kind.name) or not is_size(whole):
        raise PickleDamage(f"The storage {name!r} has no known type or size.")
    dtype = _STORED.get(kind.name.rpartition(".")[2])
    if dtype is None:
        raise PickleDamage(f"The storage type {kind.name} is not known.")
    start, count = 0, whole
    if view and view[0] is not None:
        _, start, count = view[0]
        if not (is_size(start) and is_size(count)):
            raise PickleDamage(f"A view of the storage {name!r} has no size.")
    return Storage(str(name), dtype, count, start), whole


def is_size(value: Any) -> bool:
    """Tell whether a value can be a number of entries."""
    return type(value) is int and 0 <= value < 1 << 48
