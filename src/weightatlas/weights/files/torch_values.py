"""What the records of a torch pickle mean: containers, tensors over storages, arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from weightatlas.weights.files.harmless import usual
from weightatlas.weights.files.leaf import Leaf
from weightatlas.weights.files.numpy_values import array_of, bytes_of, number_of
from weightatlas.weights.files.pickle_machine import LONGEST_NAME, Call, Named, Persistent, PickleDamage
from weightatlas.weights.files.torch_storage import PLAIN_OF, Storage, described, is_size

DEEPEST = 60
_SMALL = 1 << 20
_MAPPINGS = (
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.Counter",
    "builtins.dict",
)


@dataclass(frozen=True)
class Opaque:
    """Something that is no tensor, number, text or container; only its kind is known."""

    kind: str


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
        self.inside: dict[str, Leaf] = {}
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
        if isinstance(value, Persistent):  # a storage without a tensor around it
            store = self.storage(value)
            return self._over(store, 0, (store.count,), (1,))
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
        if isinstance(reference, Call):
            return self._inside(reference)
        found, whole = described(reference)
        self.widths.setdefault(found.key, found.dtype.itemsize)
        self.storages[found.key] = max(self.storages.get(found.key, 0), whole * found.dtype.itemsize)
        return found

    def _inside(self, call: Call) -> Storage:
        """Read a storage that a plain pickle holds as the bytes of a torch file of its own."""
        key = f"inside {id(call)}"
        if key not in self.inside:
            leaf = self.plain(call)
            if not isinstance(leaf, Leaf) or len(leaf.shape) != 1:
                raise PickleDamage("A tensor has no storage.")
            self.inside[key] = leaf
        leaf = self.inside[key]
        return Storage(key, getattr(torch, leaf.dtype), leaf.size)

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
        if len(shape) != len(stride) or not is_size(offset):
            raise PickleDamage(f"A tensor of shape {shape[:8]} has strides {stride[:8]}.")
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) + 1
        if prod(shape) and last > store.count:
            raise PickleDamage(
                f"A tensor of shape {shape[:8]} needs {last:,} numbers; its storage has {store.count:,}."
            )
        if prod(shape) > max(store.count, _SMALL):
            raise PickleDamage(f"A tensor of shape {shape[:8]} repeats {store.count:,} numbers.")
        return self._over(store, offset, shape, stride)

    def _over(self, store: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> Leaf:
        return Leaf(
            shape,
            str(store.dtype).removeprefix("torch."),
            partial(self._load, store, offset, shape, stride),
            place=(store.key, store.start + offset, str(store.dtype), shape, stride),
        )

    def _load(self, store: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        dtype = PLAIN_OF.get(store.dtype, store.dtype)
        data = self._bytes(store.key)
        if (store.start + store.count) * dtype.itemsize > data.numel():
            raise PickleDamage(f"The storage {store.key!r} is shorter than the pickle says.")
        first, stop = store.start * dtype.itemsize, (store.start + store.count) * dtype.itemsize
        numbers = data[first:stop]
        if self.swapped:
            numbers = numbers.reshape(-1, dtype.itemsize).flip(1).reshape(-1)
        typed = numbers.view(dtype)
        # An offset counts from the beginning of the memory, not from where the view begins.
        return typed.as_strided(shape, stride, typed.storage_offset() + offset)

    def _bytes(self, key: str) -> Tensor:
        return self.inside[key].load().view(torch.uint8) if key in self.inside else self.read(key)

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


def _sizes(value: Any) -> tuple[int, ...]:
    """Read a shape or strides; `torch.Size` is a call around a tuple."""
    if isinstance(value, Call) and value.arguments:
        value = value.arguments[0]
    if not isinstance(value, tuple | list) or len(value) > 32 or not all(is_size(item) for item in value):
        raise PickleDamage("A tensor has no shape.")
    return tuple(value)


def _dtype(value: Any) -> torch.dtype:
    # Asking torch for a name it does not have yet would import something.
    found = vars(torch).get(value.name.rpartition(".")[2]) if isinstance(value, Named) else None
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
