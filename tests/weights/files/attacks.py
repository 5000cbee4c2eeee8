"""Small files that ask for a lot of work: content that shares its parts, collides, or starts processes."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable

import h5py
import numpy as np
from torch import nn

from tests.weights.files.collection import bytes_of, zip_bytes


def _proto(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _get(number: int) -> bytes:
    return b"j" + struct.pack("<I", number)


def _put(number: int) -> bytes:
    return b"r" + struct.pack("<I", number)


def _doubled(levels: int) -> bytes:
    """A tuple of two of the same tuples, and so on: 2 to the levels when written out."""
    return b")" + b"2\x86" * levels


def nested_key() -> bytes:
    """The key of a pair is a text of 2^60 characters when it is written out."""
    pair = _doubled(60) + b"K\x01\x86"
    return _proto(b"ccollections\nOrderedDict\n" + b"]" + pair + b"a" + b"\x85R")


def nested_storage() -> bytes:
    """So is the name of a storage."""
    place = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _doubled(60) + _text("cpu") + b"K\x04tQ"
    return _proto(place)


def shared_mapping(entries: int = 3000, calls: int = 3000) -> bytes:
    """Thousands of mappings are made from the same mapping of thousands of entries."""
    many = (
        b"}(" + b"".join(_text(str(i)) + b"K\x01" for i in range(entries)) + b"u" + b"\x85" + _put(0) + b"0"
    )
    made = b"ccollections\nOrderedDict\n" + _put(1) + b"0"
    return _proto(many + made + b"](" + (_get(1) + _get(0) + b"R") * calls + b"e")


def colliding_keys(count: int = 20_000) -> bytes:
    """Whole numbers whose hashes are all zero."""
    prime = (1 << 61) - 1
    keys = (pickle.dumps((i + 1) * prime, 4)[2:-1] for i in range(count))
    keys = (key[9:] if key[:1] == b"\x95" else key for key in keys)
    return _proto(b"}(" + b"".join(key + b"N" for key in keys) + b"u")


def long_shared_name(length: int = 200_000, times: int = 20_000) -> bytes:
    """One text of 200 kB is the key in twenty thousand mappings."""
    return _proto(_text("k" * length) + _put(0) + b"0](" + (b"}" + _get(0) + b"K\x01s") * times + b"e")


def long_global(length: int = 200_000, times: int = 20_000) -> bytes:
    """One text of 200 kB is the module of twenty thousand imports."""
    named = b"".join(_get(0) + _text(str(i)) + b"\x93" for i in range(times))
    return _proto(_text("k" * length) + _put(0) + b"0](" + named + b"e")


def many_globals(parts: int = 800) -> bytes:
    """Every two of some hundred long texts make another import: half a gigabyte of names."""
    texts = b"".join(_text(f"{i:04}" * 120) + _put(i) + b"0" for i in range(parts))
    named = b"".join(_get(i) + _get(j) + b"\x93" + b"0" for i in range(parts) for j in range(parts))
    return _proto(texts + named[: 12 * 499_000] + b"N")


def many_tensors(count: int = 250_000) -> bytes:
    """A quarter of a million names for one tensor."""
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"K\x04tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x02K\x02\x86K\x02K\x01\x86"
    tensor += b"\x89ccollections\nOrderedDict\n)RtR" + _put(0) + b"0"
    body = tensor + b"}(" + b"".join(_text(f"{i:x}") + _get(0) for i in range(count)) + b"u"
    return zip_bytes({"archive/data.pkl": _proto(body), "archive/data/0": b"\0" * 16})


def deep_json(depth: int = 55, size: int = 100_000) -> bytes:
    """A long list inside lists that are no arrays, each of which looks like one at first."""
    return b"[" * depth + b"1," * size + b"1" + b',"x"]' * depth


def zip_of_hdf5(count: int = 300) -> bytes:
    """Each would start a process."""

    def write(out: io.BytesIO) -> None:
        with h5py.File(out, "w") as file:
            file["w"] = np.ones((2, 2))

    data = bytes_of(write)
    return zip_bytes({f"{i}.h5": data for i in range(count)})


def npz_of_many(count: int = 30_000) -> bytes:
    """Arrays of one number."""
    data = bytes_of(lambda out: np.save(out, np.ones(1)))
    return zip_bytes({f"{i}.npy": data for i in range(count)})


def wide_onnx(count: int = 4000) -> bytes:
    """Thousands of initializers and thousands of nodes: fewer seconds than pairs of them."""
    from onnx import helper, numpy_helper

    arrays = [numpy_helper.from_array(np.ones((2, 2), np.float32), f"w{i}") for i in range(count)]
    nodes = [helper.make_node("Add", [f"v{i}", f"w{i}"], [f"v{i + 1}"]) for i in range(count)]
    value = helper.make_tensor_value_info
    ends = [value("v0", 1, [2, 2])], [value(f"v{count}", 1, [2, 2])]
    graph = helper.make_graph(nodes, "g", *ends, arrays)
    return helper.make_model(graph, ir_version=8).SerializeToString()


def deflated_structure(megabytes: int = 200) -> bytes:
    """A structure of so many MB of zeros in a file a thousand times smaller."""
    size = megabytes << 20
    body = _proto(b"B" + struct.pack("<I", size) + bytes(size))
    return zip_bytes({"archive/data.pkl": body}, zipfile.ZIP_DEFLATED)


def long_names() -> bytes:
    """A name of a megabyte above a thousand values: messages would hold it a thousand times."""
    return json.dumps({"k" * (1 << 20): {str(i): True for i in range(1000)} | {"w": [[1.5, 2.0]]}}).encode()


def shared_modules(levels: int = 18) -> bytes:
    """A module that holds one module twice, and so on: 2 to the levels tensors when names are written out."""
    network: nn.Module = nn.Linear(2, 2)
    for _ in range(levels):
        network = nn.Sequential(network, network)
    return pickle.dumps(network)


ATTACKS: dict[str, Callable[[], bytes]] = {
    "nested_key.pt": nested_key,
    "nested_storage.pt": nested_storage,
    "shared_mapping.pt": shared_mapping,
    "colliding_keys.pt": colliding_keys,
    "long_shared_name.pt": long_shared_name,
    "long_global.pt": long_global,
    "many_globals.pt": many_globals,
    "many_tensors.pt": many_tensors,
    "shared_modules.pt": shared_modules,
    "deep.json": deep_json,
    "many_hdf5.zip": zip_of_hdf5,
    "many.npz": npz_of_many,
    "wide.onnx": wide_onnx,
    "deflated.pt": deflated_structure,
    "long_names.json": long_names,
}
