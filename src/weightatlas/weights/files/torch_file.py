"""Read files of `torch.save`, zip and old format, and plain pickles of arrays, without running any code."""

from collections.abc import Callable
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightatlas.errors import FileError
from weightatlas.weights.files.foreign import JOBLIB
from weightatlas.weights.files.harmless import is_harmless, is_object, usual
from weightatlas.weights.files.pickle_machine import Pickle, PickleDamage, read_pickle
from weightatlas.weights.files.records import PLAIN, Objects
from weightatlas.weights.files.torch_values import Opaque, Values
from weightatlas.weights.files.zip_file import Archive, damaged

_MAGIC = 0x1950A86A20F9469CFC6C
_LARGEST = 32 << 20
"""Bytes that the structure may unpack to, unless the file itself is larger; torch never compresses it."""


def read_torch_zip(archive: Archive, objects: Objects = PLAIN) -> tuple[Any, str]:
    """Read a zip of `torch.save`: a pickle with the structure, one member for each storage.

    Only the storages of tensors that are wanted are read later, each with its checksum.

    Args:
        archive: The open file.
        objects: Which objects besides plain data may stand in it.

    Returns:
        Nested containers with a `Leaf` for each tensor, and "torch zip" or "torchscript".

    Raises:
        FileError: The file is damaged, or holds more than data.
    """
    path = archive.path
    inside = [name for name in archive.names if name == "data.pkl" or name.endswith("/data.pkl")]
    pickled = min(inside, key=len)
    root = pickled.removesuffix("data.pkl")
    if archive.sizes[pickled] > max(_LARGEST, path.stat().st_size):
        raise damaged(
            path, f"Its structure alone is said to have {archive.sizes[pickled]:,} bytes.", "torch file"
        )
    script = any(name.startswith(f"{root}code/") or name == f"{root}constants.pkl" for name in archive.names)
    if script:
        raise FileError(
            f"{path} is a TorchScript archive: opening it would run code, so it was not opened.",
            where=f"It holds program text in {root}code/.",
            todo="Where you trust it, load it with torch.jit.load and save its state_dict() as safetensors.",
        )
    order = f"{root}byteorder"
    swapped = order in archive.sizes and bytes(archive.read(order)) == b"big"
    found = _checked(path, BytesIO(archive.read(pickled)), objects)
    cache: dict[str, Tensor] = {}

    def read(key: str) -> Tensor:
        if key not in cache:
            cache[key] = _tensor(archive.read(f"{root}data/{key}"))
        return cache[key]

    values = objects.values(read, swapped=swapped)
    tree = _meaning(path, values, found)
    for key, size in values.storages.items():
        there = archive.sizes.get(f"{root}data/{key}")
        if there is None or there < size:
            have = "is missing" if there is None else f"has {there:,} bytes"
            raise damaged(path, f"Its storage {key} should have {size:,} bytes and {have}.", "torch file")
    return tree, _named("torch zip", values)


def read_torch_stream(
    path: Path, file: BufferedIOBase, size: int, objects: Objects = PLAIN
) -> tuple[Any, str]:
    """Read the old format of `torch.save` (four pickles, then the storages), or one plain pickle.

    Args:
        path: The file's name, for messages.
        file: The file, open at its first byte; it is closed by the caller after the tensors are read.
        size: Its length in bytes.
        objects: Which objects besides plain data may stand in it.

    Returns:
        Nested containers with a `Leaf` for each tensor, and "torch legacy" or "pickle".

    Raises:
        FileError: The file is damaged, or holds more than data.
    """
    spent = 0

    def inner(data: bytes) -> Any:
        nonlocal spent
        spent += len(data)
        if spent > 2 * size:
            raise PickleDamage("It repeats the files inside it.")
        return _inner(path, data)

    first = _checked(path, file, objects)
    if first.value == _MAGIC:
        return _old(path, file, size, inner, objects)
    values = objects.values(lambda key: torch.empty(0), inner=inner)
    tree = _meaning(path, values, first)
    return tree, _named("pickle", values)


def _old(
    path: Path,
    file: BufferedIOBase,
    size: int,
    inner: Callable[[bytes], Any] | None,
    objects: Objects = PLAIN,
) -> tuple[Any, str]:
    """Read the old format behind its first pickle, which says that it is this format."""
    for _ in range(2):  # protocol version, properties of the system
        _checked(path, file)
    found = _checked(path, file, objects)
    keys = _checked(path, file).value
    places: dict[str, tuple[int, int]] = {}
    cache: dict[str, Tensor] = {}

    def read(key: str) -> Tensor:
        if key not in cache:
            start, length = places[key]
            file.seek(start)
            data = bytearray(length)
            file.readinto(data)
            cache[key] = _tensor(data)
        return cache[key]

    values = objects.values(read, inner=inner)
    tree = _meaning(path, values, found)
    places |= _places(path, file, values, keys, size)
    missing = sorted(set(values.storages) - set(places))
    if missing:
        raise damaged(path, f"Its storages {missing[:4]} are missing.", "torch file")
    return tree, _named("torch legacy", values)


def _places(
    path: Path, file: BufferedIOBase, values: Values, keys: Any, size: int
) -> dict[str, tuple[int, int]]:
    """Find where each storage of the old format stands, without reading any."""
    if not isinstance(keys, list):
        raise damaged(path, "The list of its storages is missing.", "torch file")
    found: dict[str, tuple[int, int]] = {}
    place = file.tell()
    for key in map(str, keys):
        file.seek(place)
        count = int.from_bytes(file.read(8), "little")
        width = values.widths.get(key)
        if width is None:
            raise damaged(path, f"It has a storage {key} that nothing refers to.", "torch file")
        length = count * width
        if place + 8 + length > size or length < values.storages.get(key, 0):
            where = (
                f"Its storage {key} should end at byte {place + 8 + length:,}; the file has {size:,} bytes."
            )
            raise damaged(path, where, "torch file")
        found[key] = (place + 8, length)
        place += 8 + length
    return found


def _checked(path: Path, file: BufferedIOBase, objects: Objects = PLAIN) -> Pickle:
    """Follow a pickle and refuse it if it names anything that is not data."""
    try:
        found = read_pickle(file, objects.most)
    except PickleDamage as error:
        file.seek(0)
        if b"joblib.numpy_pickle" in file.read(1 << 20):
            raise FileError(f"{path} {JOBLIB[0]}.", todo=JOBLIB[1]) from None
        raise damaged(path, str(error), "torch file, or no checkpoint") from None
    called = {usual(name) for name in found.called}
    names = (usual(name) for name in found.names)
    unknown = sorted(name for name in names if not (is_harmless(name) or objects.allows(name)))
    if not objects.names:
        unknown = [name for name in unknown if not is_object(name, name in called)]
    if unknown:
        more = f" and {len(unknown) - 6} more" if len(unknown) > 6 else ""
        raise FileError(
            f"{path} holds more than tensors: opening it would run code, so it was not opened.",
            where=f"It is a pickle that calls {', '.join(unknown[:6])}{more}.",
            todo="Where you trust it, load it yourself and save network.state_dict() as safetensors.",
        )
    return found


def _meaning(path: Path, values: Values, found: Pickle) -> Any:
    try:
        for reference in found.references:
            values.storage(reference)
        return values.plain(found.value)
    except (PickleDamage, TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise damaged(path, str(error), "torch file") from None


def _inner(path: Path, data: bytes) -> Any:
    """Read a torch file that stands inside a pickle as bytes, but none inside that one."""
    file = BytesIO(data)
    first = _checked(path, file)
    return _old(path, file, len(data), None)[0] if first.value == _MAGIC else Opaque("a pickle")


def _named(kind: str, values: Values) -> str:
    """Say in the name of a format that whole modules were pickled."""
    return f"{kind} (module)" if getattr(values, "modules", False) else kind


def _tensor(data: bytearray) -> Tensor:
    return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
