"""What the records of a torch pickle mean: containers, tensors over storages, arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from weightatlas.weights.files.harmless import is_storage, usual
from weightatlas.weights.files.leaf import Leaf
from weightatlas.weights.files.numpy_values import array_of, bytes_of, number_of
from weightatlas.weights.files.pickle_machine import (
    LONGEST_NAME,
    Call,
    Named,
    Persistent,
    PickleDamage,
)

DEEPEST = 60
_SMALL = 1 << 20
_MAPPINGS = (
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.Counter",
    "builtins.dict",
)
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
_PLAIN_OF = {torch.qint8: torch.int8, torch.quint8: torch.uint8, torch.qint32: torch.int32}


@dataclass(frozen=True)
class Opaque:
    """Something that is no tensor, number, text or container; only its kind is known."""

    kind: str


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


class Values:
    """Turns records into nested dictionaries and lists with `Leaf` at the tensors.

    Args:
        read: Reads all bytes of a storage by its key, as a one-dimensional uint8 tensor.
        inner: Reads a torch file that stands inside the pickle as bytes.
        swapped: True if the bytes of each number stand in reverse order.
    """

    most_work = 2_000_000
    """Entries of containers that are given a meaning; a pickle can name one container in many places."""

    def __init__(
        self,
        read: Callable[[str], Tensor],
        inner: Callable[[bytes], Any] | None = None,
        swapped: bool = False,
    ) -> None:
        self.read, self.inner, self.swapped = read, inner, swapped
        self.storages: dict[str, int] = {}
        self.widths: dict[str, int] = {}
        self.work = 0
        self.done: dict[int, Any] = {}
        self.kept: list[Any] = []

    def plain(self, value: Any, depth: int = 0) -> Any:
        """Give a value its meaning; what has none here becomes `Opaque`."""
        if isinstance(value, str | int | float | bool | bytes | Leaf | Opaque) or value is None:
            return value
        if id(value) in self.done:
            return self.done[id(value)]
        if depth > DEEPEST:
            return Opaque("something nested too deeply")
        self.kept.append(value)  # An id is only unique while its object lives.
        self.done[id(value)] = Opaque("a container inside itself")
        self.done[id(value)] = found = self._meaning(value, depth + 1)
        return found

    def _meaning(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            self.charge(len(value))
            return {_text(key): self.plain(item, depth) for key, item in value.items()}
        if isinstance(value, list | tuple):
            self.charge(len(value))
            return [self.plain(item, depth) for item in value]
        if isinstance(value, Call):
            return self._called(value, depth)
        return Opaque(value.name if isinstance(value, Named) else type(value).__name__)

    def charge(self, entries: int) -> None:
        """Count work, and end it where a pickle asks for far more than its own length."""
        self.work += entries
        if self.work > self.most_work:
            raise PickleDamage("It repeats the same containers too often.")

    def _called(self, call: Call, depth: int) -> Any:
        """Give a call its meaning by the name of what would be called."""
        name, arguments = usual(call.function.name), call.arguments
        last = name.rpartition(".")[2]
        if name in _MAPPINGS:
            given = [item for item in arguments[:2] if isinstance(item, dict | list)]
            self.charge(len(call.pairs) + sum(map(len, given)))
            pairs = [pair for item in given for pair in (item.items() if isinstance(item, dict) else item)]
            pairs = [pair for pair in pairs if isinstance(pair, tuple | list) and len(pair) == 2]
            return {_text(key): self.plain(item, depth) for key, item in [*pairs, *call.pairs]}
        if last.startswith("_rebuild_"):
            return self._rebuilt(last, arguments, depth)
        if name.startswith("torch.nn.parameter.") and arguments:
            return self.plain(arguments[0], depth)
        if name == "torch.Size" and arguments:
            return self.plain(arguments[0], depth)
        if name == "torch.storage._load_from_bytes" and self.inner and arguments:
            return self.inner(bytes_of(arguments[0]))
        if name.startswith("numpy"):
            return number_of(call) if last == "scalar" else array_of(call) or Opaque(name)
        return Opaque(name)

    def _rebuilt(self, last: str, arguments: tuple[Any, ...], depth: int) -> Any:
        if last in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return self._tensor(*arguments[:4])
        if last == "_rebuild_tensor_v3":
            return self._tensor(*arguments[:4], dtype=_dtype(arguments[6]))
        if last in ("_rebuild_parameter", "_rebuild_parameter_with_state") or "_device_tensor_" in last:
            return self.plain(arguments[0], depth)
        if last == "_rebuild_from_type_v2" and isinstance(arguments[0], Named):
            return self.plain(Call(arguments[0], arguments[2]), depth)
        if last == "_rebuild_qtensor":
            return self._quantized(*arguments[:5], depth=depth)
        if last == "_rebuild_sparse_tensor":
            return self._sparse(*arguments[1][:3], depth=depth)
        return Opaque(f"a tensor of another kind ({last.removeprefix('_rebuild_')})")

    def storage(self, reference: Any) -> Storage:
        """Read the reference to a storage and remember how large it says the storage is."""
        key = reference.key if isinstance(reference, Persistent) else None
        if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage":
            raise PickleDamage("A tensor has no storage.")
        _, kind, name, _, count, *view = key
        if not isinstance(name, str | int) or len(str(name)) > LONGEST_NAME:
            raise PickleDamage("A storage has no name.")
        if not isinstance(kind, Named) or not is_storage(kind.name) or not _is_size(count):
            raise PickleDamage(f"The storage {name!r} has no known type or size.")
        dtype = _STORED.get(kind.name.rpartition(".")[2])
        if dtype is None:
            raise PickleDamage(f"The storage type {kind.name} is not known.")
        key, start = str(name), 0
        self.widths.setdefault(key, dtype.itemsize)
        self.storages[key] = max(self.storages.get(key, 0), count * dtype.itemsize)
        if view and view[0] is not None:
            _, start, count = view[0]
            if not (_is_size(start) and _is_size(count)):
                raise PickleDamage(f"A view of the storage {name!r} has no size.")
        return Storage(key, dtype, count, start)

    def _tensor(
        self, reference: Any, offset: Any, shape: Any, stride: Any, dtype: torch.dtype | None = None
    ) -> Leaf:
        """Describe a tensor after checking that its storage is large enough for it."""
        store = self.storage(reference)
        if dtype is not None:
            size = store.dtype.itemsize
            if store.start * size % dtype.itemsize:
                raise PickleDamage("A storage is not aligned.")
            start = store.start * size // dtype.itemsize
            store = Storage(store.key, dtype, store.count * size // dtype.itemsize, start)
        shape, stride = _sizes(shape), _sizes(stride)
        if len(shape) != len(stride) or not _is_size(offset):
            raise PickleDamage(f"A tensor of shape {shape[:8]} has strides {stride[:8]}.")
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) + 1
        if prod(shape) and last > store.count:
            raise PickleDamage(
                f"A tensor of shape {shape[:8]} needs {last:,} numbers; its storage has {store.count:,}."
            )
        if prod(shape) > max(store.count, _SMALL):
            raise PickleDamage(f"A tensor of shape {shape[:8]} repeats {store.count:,} numbers.")
        return Leaf(
            shape,
            str(store.dtype).removeprefix("torch."),
            partial(self._load, store, offset, shape, stride),
            place=(store.key, store.start + offset, str(store.dtype), shape, stride),
        )

    def _load(self, store: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        dtype = _PLAIN_OF.get(store.dtype, store.dtype)
        data = self.read(store.key)
        if (store.start + store.count) * dtype.itemsize > data.numel():
            raise PickleDamage(f"The storage {store.key!r} is shorter than the pickle says.")
        first, stop = store.start * dtype.itemsize, (store.start + store.count) * dtype.itemsize
        numbers = data[first:stop]
        if self.swapped:
            numbers = numbers.reshape(-1, dtype.itemsize).flip(1).reshape(-1)
        return numbers.view(dtype).as_strided(shape, stride, offset)

    def _quantized(
        self, reference: Any, offset: Any, shape: Any, stride: Any, scheme: Any, *, depth: int
    ) -> Leaf | Opaque:
        """Describe a quantized tensor by the numbers it stands for: (integer - zero point) * scale."""
        if not isinstance(scheme, tuple) or len(scheme) < 3:
            raise PickleDamage("A quantized tensor has no scale.")
        whole = self._tensor(reference, offset, shape, stride)
        scale, zero, *axis = (self.plain(item, depth) for item in scheme[1:])

        def load() -> Tensor:
            integers = whole.load().to(torch.float64)
            scales, zeros = (
                item.load() if isinstance(item, Leaf) else torch.tensor(item) for item in (scale, zero)
            )
            if scales.dim():
                along = [1] * integers.dim()
                along[int(axis[0])] = -1
                scales, zeros = scales.reshape(along), zeros.reshape(along)
            return ((integers - zeros.double()) * scales.double()).float()

        return Leaf(whole.shape, whole.dtype, load, place=whole.place, lossy=True)

    def _sparse(self, indices: Any, values: Any, shape: Any, *_: Any, depth: int) -> Leaf:
        """Describe a sparse tensor by its dense form."""
        where, what = self.plain(indices, depth), self.plain(values, depth)
        shape = _sizes(shape)
        if not (isinstance(where, Leaf) and isinstance(what, Leaf) and len(where.shape) == 2):
            raise PickleDamage("A sparse tensor has no indices.")
        if prod(shape) > max(64 * what.size, _SMALL):
            raise PickleDamage(f"A sparse tensor of shape {shape[:8]} holds only {what.size:,} numbers.")

        def load() -> Tensor:
            return torch.sparse_coo_tensor(where.load(), what.load(), shape, check_invariants=True).to_dense()

        return Leaf(shape, what.dtype, load)


def _numbers(item: Any) -> Tensor:
    return item.load() if isinstance(item, Leaf) else torch.tensor(item)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 48


def _sizes(value: Any) -> tuple[int, ...]:
    """Read a shape or strides; `torch.Size` is a call around a tuple."""
    if isinstance(value, Call) and value.arguments:
        value = value.arguments[0]
    if not isinstance(value, tuple | list) or len(value) > 32 or not all(_is_size(item) for item in value):
        raise PickleDamage("A tensor has no shape.")
    return tuple(value)


def _dtype(value: Any) -> torch.dtype:
    found = getattr(torch, value.name.rpartition(".")[2], None) if isinstance(value, Named) else None
    if not isinstance(found, torch.dtype):
        raise PickleDamage("A tensor has a number type that is not known.")
    return found


def _text(key: Any) -> str:
    """Write a key as text; only plain ones, since a nested one can be exponentially long."""
    if isinstance(key, bytes):
        key = key.decode("latin-1")
    if not isinstance(key, str | int | float | None):
        return f"<{type(key).__name__}>"
    text = str(key)
    if len(text) > LONGEST_NAME:
        raise PickleDamage(f"A key has {len(text):,} characters.")
    return text
