"""Read ONNX files: initializers under PyTorch's conventions, and the graph."""

from collections.abc import Callable, Iterable
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightatlas.errors import ConfigError, FileError
from weightatlas.weights.files.checkpoint import Operation
from weightatlas.weights.files.leaf import Leaf
from weightatlas.weights.files.zip_file import damaged

# TensorProto.DataType -> torch; the packed 4-bit types have no torch type and are skipped with a reason.
_TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    4: torch.uint16,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    12: torch.uint32,
    13: torch.uint64,
    14: torch.complex64,
    15: torch.complex128,
    16: torch.bfloat16,
    17: torch.float8_e4m3fn,
    18: torch.float8_e4m3fnuz,
    19: torch.float8_e5m2,
    20: torch.float8_e5m2fnuz,
}
# Numbers of these types stand one each in `int32_data`, as their bits.
_BITS = {
    2: "u1",
    3: "i1",
    4: "u2",
    5: "i2",
    6: "i4",
    9: "u1",
    10: "u2",
    16: "u2",
    17: "u1",
    18: "u1",
    19: "u1",
    20: "u1",
}
_LISTS = {
    1: ("float_data", "f4"),
    7: ("int64_data", "i8"),
    11: ("double_data", "f8"),
    12: ("uint64_data", "u4"),
    13: ("uint64_data", "u8"),
}
_LARGEST = 1 << 31


def read_onnx(path: Path) -> tuple[dict[str, Any], tuple[Operation, ...], dict[str, str], list[str]]:
    """Describe the initializers and constants of an ONNX graph that its operations use as weights.

    Matrices of `MatMul` and of `Gemm` without `transB` are turned to `(out, in)`; quantized weights in front
    of `DequantizeLinear` are given as the numbers they stand for.

    Args:
        path: The file; tensors in other files are read only from its own folder.

    Returns:
        Name -> tensor in the order of use, the operations, the file's texts about itself, and notes.

    Raises:
        FileError: It is damaged, or refers to files outside its folder.
        ConfigError: The package `onnx` is not installed.
    """
    graph, metadata = _parse(path)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            stored.update((node.output[0], item.t) for item in node.attribute if item.name == "value")
    operations = tuple(_operation(node) for node in graph.node if node.op_type != "Constant")
    reader = _Reader(path, stored)
    used = [name for step in operations for name in step.inputs if name in stored]
    found = {name: reader.leaf(name) for name in dict.fromkeys([*used, *stored])}
    tree: dict[str, Any] = {key: leaf for key, leaf in found.items() if isinstance(leaf, Leaf)}
    notes = [f"'{name}' is left out: {leaf}." for name, leaf in found.items() if isinstance(leaf, str)]
    for step in operations:
        _convention(step, tree)
    _dequantize(operations, tree)
    kept = {name: leaf for name, leaf in tree.items() if _is_weight(name, leaf, operations)}
    left = [name for name in tree if name not in kept]
    if left:
        notes.append(
            f"{len(left)} constants are no weights (shapes, scales, indices): {', '.join(left[:5])}."
        )
    return kept, operations, metadata, notes


def _is_weight(name: str, leaf: Leaf, operations: Iterable[Operation]) -> bool:
    """Tell weights from the constants of shape arithmetic and quantization."""
    users = [(step.op, step.inputs.index(name)) for step in operations if name in step.inputs]
    if any(op in _SCALED and place > 0 for op, place in users):
        return False
    if leaf.floating:
        return leaf.size > 1 or not users or any(op in _LAYERS for op, _ in users)
    return any(op in _LAYERS for op, _ in users)


def _parse(path: Path) -> tuple[Any, dict[str, str]]:
    """Parse the whole protocol buffer; sizes inside it are bounded by the file."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        todo = "pip install 'weightatlas[onnx]'"
        raise ConfigError(f"{path} is an ONNX file; the package onnx is not installed.", todo=todo) from None
    if path.stat().st_size >= _LARGEST:
        raise damaged(
            path, "An ONNX file has less than 2 GB; larger weights stand in files beside it.", "ONNX file"
        )
    try:
        whole = onnx.ModelProto.FromString(path.read_bytes())
    except (DecodeError, ValueError, RecursionError) as error:
        raise damaged(path, str(error), "ONNX file") from None
    texts = {
        "producer": f"{whole.producer_name} {whole.producer_version}".strip(),
        "ir_version": str(whole.ir_version),
    }
    texts |= {item.key: item.value for item in whole.metadata_props}
    return whole.graph, {key: text[:1000] for key, text in texts.items() if text}


class _Reader:
    """Describes stored tensors after comparing the sizes they declare with the bytes they have."""

    def __init__(self, path: Path, stored: dict[str, Any]) -> None:
        self.path, self.stored = path, stored

    def leaf(self, name: str) -> Leaf | str:
        """Describe one tensor, or say why it cannot be read."""
        tensor = self.stored[name]
        kind = _TYPES.get(tensor.data_type)
        if kind is None:
            return f"its number type {tensor.data_type} is not known here"
        shape = tuple(tensor.dims)
        if len(shape) > 32 or any(size < 0 for size in shape):
            raise damaged(self.path, f"'{name}' has shape {shape[:8]}.", "ONNX file")
        size, load = self._source(name, tensor, kind)
        if size != prod(shape) * kind.itemsize:
            reason = (
                f"'{name}' of shape {shape[:8]} needs {prod(shape) * kind.itemsize:,} bytes; it has {size:,}."
            )
            raise damaged(self.path, reason, "ONNX file")
        return Leaf(shape, str(kind).removeprefix("torch."), partial(_read, load, kind, shape))

    def _source(self, name: str, tensor: Any, kind: torch.dtype) -> tuple[int, Callable[[], bytes]]:
        if tensor.data_location == 1:
            return self._beside(name, {item.key: item.value for item in tensor.external_data}, tensor, kind)
        if tensor.HasField("raw_data"):
            return len(tensor.raw_data), lambda: tensor.raw_data
        return _typed(tensor, kind)

    def _beside(
        self, name: str, entry: dict[str, str], tensor: Any, kind: torch.dtype
    ) -> tuple[int, Callable[[], bytes]]:
        """Find numbers in a file beside this one, and nowhere else."""
        folder = self.path.parent.resolve()
        place = entry.get("location", "")
        other = (folder / place).resolve() if place and "\0" not in place else folder
        # A download cache links files of one folder into another: the target of the file itself counts too.
        inside = other.is_relative_to(folder) or other.parent == self.path.resolve().parent
        if not inside or ".." in Path(place).parts or not other.is_file():
            what = "is missing" if inside else "is outside its folder and was not opened"
            raise FileError(
                f"{self.path} keeps '{name}' in the file '{place[:200]}', which {what}.",
                todo="Put the file beside it, under this name." if "missing" in what else "",
            )
        try:
            start, length = int(entry.get("offset", 0)), int(entry.get("length", -1))
        except ValueError:
            raise damaged(self.path, f"'{name}' has no place in '{place[:200]}'.", "ONNX file") from None
        length = length if length >= 0 else prod(tensor.dims) * kind.itemsize
        if start < 0 or start + length > other.stat().st_size:
            have = (
                f"{place[:200]} has {other.stat().st_size:,} bytes, '{name}' ends at byte {start + length:,}."
            )
            raise damaged(self.path, have, "ONNX file")
        return length, partial(_part, other, start, length)


def _part(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def _typed(tensor: Any, kind: torch.dtype) -> tuple[int, Callable[[], bytes]]:
    """Numbers that stand in a typed list of the protocol buffer."""
    code = tensor.data_type
    if code in (14, 15):
        field, width = ("float_data", "f4") if code == 14 else ("double_data", "f8")
        values = getattr(tensor, field)
        return len(values) * kind.itemsize // 2, lambda: np.array(values, f"<{width}").tobytes()
    if code in _LISTS:
        field, width = _LISTS[code]
        values = getattr(tensor, field)
        return len(values) * kind.itemsize, lambda: np.array(values, f"<{width}").tobytes()
    values, width = tensor.int32_data, _BITS[code]
    return len(values) * kind.itemsize, lambda: np.array(values, "<i8").astype(f"<{width}").tobytes()


def _read(load: Callable[[], bytes], kind: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    data = bytearray(load())
    flat = torch.frombuffer(data, dtype=torch.uint8).view(kind) if data else torch.empty(0, dtype=kind)
    return flat.reshape(shape)


def _operation(node: Any) -> Operation:
    """Turn a node into a record with plain attributes; subgraphs are only named."""
    attributes: dict[str, Any] = {}
    for item in node.attribute:
        values = {1: item.f, 2: item.i, 3: item.s.decode("utf-8", "replace")[:1000]}
        lists = {6: item.floats, 7: item.ints}
        if item.type in values:
            attributes[item.name] = values[item.type]
        elif item.type in lists:
            attributes[item.name] = list(lists[item.type])
    return Operation(
        op=node.op_type,
        name=node.name,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes=attributes,
    )


def _convention(step: Operation, tree: dict[str, Any]) -> None:
    """Turn the matrix of a dense layer to (out, in)."""
    name = step.inputs[1] if len(step.inputs) > 1 else ""
    leaf: Any = tree.get(name)
    matrix = isinstance(leaf, Leaf) and len(leaf.shape) == 2 and leaf.axes is None
    if matrix and (step.op == "MatMul" or (step.op == "Gemm" and not step.attributes.get("transB", 0))):
        tree[name] = Leaf(leaf.shape, leaf.dtype, leaf.load, axes=(1, 0), lossy=leaf.lossy)


def _dequantize(operations: Iterable[Operation], tree: dict[str, Any]) -> None:
    """Replace integers in front of `DequantizeLinear` by (integer - zero point) * scale."""
    for step in operations:
        parts: list[Any] = [tree.get(name) for name in step.inputs]
        if step.op != "DequantizeLinear" or len(parts) < 2 or not all(isinstance(p, Leaf) for p in parts[:2]):
            continue
        axis = int(step.attributes.get("axis", 1))
        whole, scale = parts[0], parts[1]
        zero = parts[2] if len(parts) > 2 else None
        along = whole.shape[axis] if -len(whole.shape) <= axis < len(whole.shape) else 1
        if (
            scale.size not in (1, along)
            or whole.floating
            or ("blocksize" in step.attributes and scale.size != 1)
        ):
            continue
        load = partial(_numbers, whole, scale, zero, axis)
        tree[step.inputs[0]] = Leaf(whole.shape, f"q{whole.dtype}", load, lossy=True)


def _numbers(whole: Leaf, scale: Leaf, zero: Leaf | None, axis: int) -> Tensor:
    integers, scales = whole.load().to(torch.float64), scale.load().double().reshape(-1)
    zeros = zero.load().double().reshape(-1) if isinstance(zero, Leaf) else torch.zeros_like(scales)
    along = [1] * integers.dim()
    if len(scales) > 1:
        along[axis] = -1
        return ((integers - zeros.reshape(along)) * scales.reshape(along)).float()
    return ((integers - zeros) * scales).float().reshape(integers.shape)


_SCALED = frozenset(("DequantizeLinear", "QuantizeLinear"))
_LAYERS = frozenset(
    [
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "BatchNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "GroupNormalization",
        "LSTM",
        "GRU",
        "RNN",
        "PRelu",
        "ConvInteger",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
    ]
)
