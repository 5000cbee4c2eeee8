"""The part of reading HDF5 that runs in a process of its own, with a limit on memory and time.

The HDF5 library can crash on damaged files, so a crash must not take the caller along. Started as
`python -I hdf5_worker.py FILE OUT BYTES SECONDS`; writes the arrays to OUT (safetensors) and prints JSON.
It is a script: nothing imports it, and it imports nothing of the package.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

LIMIT = 900 << 20


def main(path: str, out: str, allowed: int, seconds: int) -> None:
    """Copy every plain array of an HDF5 file to a safetensors file.

    Args:
        path: The HDF5 file.
        out: The safetensors file to write.
        allowed: Bytes that all arrays together may have.
        seconds: Processor time that reading may take.
    """
    _limit(allowed, seconds)
    import h5py
    import numpy as np
    from safetensors.numpy import save_file

    found: dict[str, Any] = {"order": [], "skipped": {}, "attributes": {}}
    arrays: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        total = 0
        for name, item in _walk(h5py, file):
            if isinstance(item, str):
                found["skipped"][name] = item
                continue
            texts = _attributes(item, np)
            if texts:
                found["attributes"][name] = texts
            if not isinstance(item, h5py.Dataset):
                continue
            problem = _problem(item)
            if problem:
                found["skipped"][name] = problem
                continue
            total += item.size * item.dtype.itemsize
            if total > allowed:
                raise ValueError(f"Its arrays unpack to more than {allowed:,} bytes.")
            values = np.ascontiguousarray(item[()], item.dtype.newbyteorder("="))
            arrays[name] = values.reshape(item.shape)
            found["order"].append(name)
    save_file(arrays, out)
    json.dump(found, sys.stdout)


def _limit(allowed: int, seconds: int) -> None:
    """Ask the system to stop this process when it takes too much memory or work."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; the caller's time limit still holds.
        return
    most = LIMIT + 3 * allowed
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _walk(h5py: Any, file: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, group, array or reason for leaving it out); every object once, in the file's order."""
    seen, stack = set(), [("", file)]
    while stack:
        name, item = stack.pop()
        yield name, item
        if not isinstance(item, h5py.Group):
            continue
        inner = []
        for key in item:
            path = f"{name}/{key}" if name else key
            if not isinstance(item.get(key, getlink=True), h5py.HardLink):
                yield path, "a link"
                continue
            child = item[key]
            place = h5py.h5o.get_info(child.id).addr
            if place not in seen:
                seen.add(place)
                inner.append((path, child))
            if len(seen) > 20_000:
                raise ValueError("It has more than 20,000 objects.")
        stack += reversed(inner)


def _problem(item: Any) -> str:
    """Say why an array is not read; empty if it is."""
    if item.dtype.kind not in "fiub" or item.dtype.itemsize > 8 or item.shape is None:
        return f"array of {item.dtype}"[:60]
    if item.external or item.is_virtual:
        return "its numbers stand in another file"
    return ""


def _attributes(item: Any, np: Any) -> dict[str, Any]:
    """Read texts and lists of texts; everything else is left out."""
    found = {}
    for key in item.attrs:
        try:
            value = item.attrs[key]
        except (OSError, TypeError, ValueError, KeyError):
            continue
        if isinstance(value, np.ndarray) and value.dtype.kind in "SO" and value.ndim == 1:
            found[key] = [_text(entry) for entry in value.tolist()]
        elif isinstance(value, str | bytes):
            found[key] = _text(value)
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    except MemoryError:
        sys.exit("It takes too much memory.")
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}"[:400])
