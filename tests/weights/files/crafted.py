"""Checkpoints nobody would write, in the grammar of each format: hypothesis chooses structure and numbers."""

import json
import pickle
import struct
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.weights.files.collection import torch_bytes, zip_bytes

Case = tuple[str, bytes]

_NAMES = st.sampled_from(
    [
        "0.weight",
        "0.bias",
        "1.weight",
        "state_dict",
        "optimizer",
        "param_groups",
        "params",
        "ema",
        "module.w",
        "",
    ]
) | st.text(max_size=6)
_SIZES = st.sampled_from([0, 1, 2, 3, 255, 1 << 16, 1 << 31, (1 << 48) - 1, 1 << 62, (1 << 64) - 1, -1])
_SHAPES = st.lists(_SIZES | st.integers(0, 4), max_size=5)
_TYPES = st.sampled_from(["float32", "float64", "bfloat16", "int8", "bool", "complex64", "float8_e4m3fn"])


@st.composite
def _tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    tensor = torch.ones(shape).to(getattr(torch, draw(_TYPES)))
    return tensor.mT if tensor.dim() > 1 and draw(st.booleans()) else tensor


def _values(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | leaves
    keys = _NAMES | st.integers(-2, 1 << 70) | st.tuples(st.integers(0, 1), st.text(max_size=2))
    return st.recursive(
        plain,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(keys, inner, max_size=4)
            | st.dictionaries(_NAMES, inner, max_size=4).map(OrderedDict)
            | st.tuples(inner, inner)
            | inner.map(lambda value: [value, value])
        ),
        max_leaves=12,
    )


@st.composite
def _torch(draw: st.DrawFn) -> Case:
    return "crafted.pt", torch_bytes(draw(_values(_tensors())), new=draw(st.booleans()))


@st.composite
def _pickled(draw: st.DrawFn) -> Case:
    arrays = _SHAPES.map(lambda shape: np.ones([size % 4 for size in shape]))
    value = draw(_values(arrays | st.binary(max_size=8)))
    return "crafted.pkl", pickle.dumps(value, draw(st.integers(2, 5)))


@st.composite
def _instructions(draw: st.DrawFn) -> Case:
    """A stream of pickle instructions in any order, most of them with an argument that fits."""
    number = st.integers(0, 5)
    short = st.sampled_from([b"storage", b"0", b"cpu", b"k", b"x" * 200])
    steps = (
        st.sampled_from(
            [b"(", b"]", b"}", b")", b"N", b"\x88", b"2", b"0", b"1", b"a", b"e", b"s", b"u", b"t"]
        )
        | st.sampled_from(
            [
                b"\x85",
                b"\x86",
                b"\x87",
                b"R",
                b"b",
                b"Q",
                b"\x81",
                b"\x92",
                b"\x93",
                b"\x94",
                b"o",
                b"l",
                b"d",
            ]
        )
        | number.map(lambda n: b"q%c" % n)
        | number.map(lambda n: b"h%c" % n)
        | number.map(lambda n: b"K%c" % n)
        | _SIZES.map(lambda n: b"\x8a\x09" + n.to_bytes(9, "little", signed=True))
        | short.map(lambda s: b"X" + struct.pack("<I", len(s)) + s)
        | st.sampled_from(
            [
                b"ctorch\nFloatStorage\n",
                b"ctorch._utils\n_rebuild_tensor_v2\n",
                b"ccollections\nOrderedDict\n",
                b"cnumpy.core.multiarray\n_reconstruct\n",
                b"cnumpy\ndtype\n",
                b"cos\nsystem\n",
            ]
        )
    )
    body = b"".join(draw(st.lists(steps, min_size=1, max_size=60)))
    data = b"\x80\x04" + body + b"."
    return (
        ("crafted.pt", zip_bytes({"a/data.pkl": data, "a/data/0": bytes(64)}))
        if draw(st.booleans())
        else ("crafted.pkl", data)
    )


@st.composite
def _safetensors(draw: st.DrawFn) -> Case:
    entry = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "BF16", "I8", "F64", "F8_E4M3", "X"]),
            "shape": _SHAPES,
            "data_offsets": st.lists(_SIZES | st.integers(0, 64), min_size=1, max_size=3),
        }
    )
    header = draw(st.dictionaries(_NAMES, entry | _values(st.nothing()), max_size=5))
    text = json.dumps(_named(header), default=str).encode()
    length = draw(st.sampled_from([len(text), len(text), len(text), 1 << 30, len(text) - 1]))
    return "crafted.safetensors", struct.pack("<Q", max(length, 0)) + text + bytes(draw(st.integers(0, 64)))


@st.composite
def _json(draw: st.DrawFn) -> Case:
    value = draw(_values(st.lists(st.lists(st.floats(-2, 2), min_size=2, max_size=2), max_size=3)))
    return "crafted.json", json.dumps(_named(value), default=str).encode()


def _named(value: Any) -> Any:
    """Texts as keys, which JSON asks for."""
    if isinstance(value, dict):
        return {str(key): _named(item) for key, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, list | tuple) else value


@st.composite
def _numpy(draw: st.DrawFn) -> bytes:
    shape, kind = (
        draw(_SHAPES),
        draw(st.sampled_from(["<f4", ">f8", "|i1", "|O", "<U9", "<c8", "[('a','<f4')]", "|V2"])),
    )
    header = {"descr": kind, "fortran_order": draw(st.booleans()), "shape": tuple(shape)}
    text = repr(header).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(draw(st.integers(0, 64)))


@st.composite
def _npz(draw: st.DrawFn) -> Case:
    members = draw(st.dictionaries(_NAMES.map(lambda name: f"{name}.npy"), _numpy(), max_size=4))
    return "crafted.npz", zip_bytes(members)


@st.composite
def _onnx(draw: st.DrawFn) -> Case:
    from onnx import TensorProto, helper

    names = st.sampled_from(["w", "b", "x", "y", "s", "z"])
    ops = st.sampled_from(["Conv", "Gemm", "MatMul", "Add", "Flatten", "DequantizeLinear", "Constant", "If"])
    nodes = [
        helper.make_node(draw(ops), draw(st.lists(names, max_size=4)), draw(st.lists(names, max_size=2)))
        for _ in range(draw(st.integers(0, 6)))
    ]
    tensors = []
    for name in draw(st.lists(names, max_size=5)):
        dims = [size if size < 1 << 62 else 1 << 62 for size in draw(_SHAPES)]
        made = TensorProto(name=name, dims=dims, data_type=draw(st.integers(0, 24)))
        made.raw_data = bytes(draw(st.integers(0, 64)))
        tensors.append(made)
    graph = helper.make_graph(nodes, "g", [], [], tensors)
    return "crafted.onnx", helper.make_model(graph, ir_version=8, producer_name="t").SerializeToString()


@st.composite
def _zips(draw: st.DrawFn) -> Case:
    inner = draw(st.lists(_torch() | _safetensors() | _json() | _npz(), max_size=3))
    return "crafted.zip", zip_bytes({f"{i}.{name}": data for i, (name, data) in enumerate(inner)})


def cases() -> st.SearchStrategy[Case]:
    """Name and content of one file."""
    bare = _numpy().map(lambda data: ("crafted.npy", data))
    return st.one_of(
        _torch(), _pickled(), _instructions(), _safetensors(), _json(), bare, _npz(), _onnx(), _zips()
    )


def crafted(number: int, count: int = 5) -> list[Case]:
    """A few files that depend only on a number."""
    found: list[Case] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.large_base_example,
        ],
    )
    @given(cases())
    def collect(case: Case) -> None:
        found.append(case)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about what it will no longer write
        collect()
    return found
