"""Read ONNX files: initializers under PyTorch's conventions, and the graph."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightatlas.errors import ConfigError
from weightatlas.weights.files.checkpoint import Operation
from weightatlas.weights.files.leaf import Leaf
from weightatlas.weights.files.onnx_tensors import Initializers, text
from weightatlas.weights.files.zip_file import damaged

_LARGEST = 1 << 31
_GRAPH = 5  # AttributeProto.GRAPH
_AXES = 16  # of the longest target of a reshape that is noted


def read_onnx(
    path: Path,
) -> tuple[dict[str, Any], tuple[Operation, ...], dict[str, str], list[str], tuple[str, ...]]:
    """Describe the initializers and constants of an ONNX graph that its operations use as weights.

    Matrices of `MatMul` and of `Gemm` without `transB` are turned to `(out, in)`; quantized weights in front
    of `DequantizeLinear` are given as the numbers they stand for.

    Args:
        path: The file; tensors in other files are read only from its own folder.

    Returns:
        Name -> tensor in the order of use, the operations, the file's texts about itself, notes, and the
        names of the files beside it that hold tensors.

    Raises:
        FileError: It is damaged, or refers to files outside its folder.
        ConfigError: The package `onnx` is not installed.
    """
    graph, metadata = _parse(path)
    stored: dict[str, Any] = {}
    kept_inside = {text(tensor.name) for tensor in graph.initializer}
    given = {text(value.name): value for value in graph.input if text(value.name) not in kept_inside}
    returned = tuple(text(value.name) for value in graph.output)
    ends = Operation(
        op="Output", inputs=returned, attributes={"inputs": list(given), **_batch(given.values())}
    )
    operations = (*_collect(graph, stored, {}, ""), ends)
    reader = Initializers(path, stored)
    used = [name for step in operations for name in step.inputs if name in stored]
    found = {name: reader.leaf(name) for name in dict.fromkeys([*used, *stored])}
    tree: dict[str, Any] = {key: leaf for key, leaf in found.items() if isinstance(leaf, Leaf)}
    notes = [f"'{name}' is left out: {leaf}." for name, leaf in found.items() if isinstance(leaf, str)]
    operations = tuple(_targeted(step, tree) for step in operations)
    for step in operations:
        _convention(step, tree)
    _dequantize(operations, tree)
    users = _users(operations)
    kept = {name: leaf for name, leaf in tree.items() if _is_weight(leaf, users.get(name, []))}
    left = [name for name in tree if name not in kept]
    if left:
        notes.append(
            f"{len(left)} constants are no weights (shapes, scales, indices): {', '.join(left[:5])}."
        )
    return kept, operations, metadata, notes, tuple(reader.beside)


def _batch(inputs: Iterable[Any]) -> dict[str, int]:
    """Note how many inputs the graph takes at once, if it is made for one number of them."""
    firsts = {
        value.type.tensor_type.shape.dim[0].dim_value for value in inputs if value.type.tensor_type.shape.dim
    }
    return {"batch": first} if len(firsts) == 1 and (first := firsts.pop()) > 0 else {}


def _users(operations: Iterable[Operation]) -> dict[str, list[tuple[str, int]]]:
    """List by name the operations that read a value, and the place they read it at."""
    found: dict[str, list[tuple[str, int]]] = {}
    for step in operations:
        for place, name in enumerate(step.inputs):
            found.setdefault(name, []).append((step.op, place))
    return found


def _is_weight(leaf: Leaf, users: list[tuple[str, int]]) -> bool:
    """Tell weights from the constants of shape arithmetic and quantization."""
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
        "producer": f"{text(whole.producer_name)} {text(whole.producer_version)}".strip(),
        "ir_version": str(whole.ir_version),
    }
    texts |= {text(item.key): text(item.value) for item in whole.metadata_props}
    return whole.graph, {key: found[:1000] for key, found in texts.items() if found}


def _collect(graph: Any, stored: dict[str, Any], outer: Mapping[str, str], place: str) -> Iterator[Operation]:
    """Yield the operations of a graph, those of graphs inside it first, and gather all stored tensors.

    The branches of an `If` may use one name twice; the later one gets its place in front of the name.
    """
    constants = [(node, item.t) for node in graph.node for item in node.attribute if item.name == "value"]
    own = [(text(tensor.name), tensor) for tensor in graph.initializer]
    own += [(text(node.output[0]), t) for node, t in constants if node.op_type == "Constant" and node.output]
    names = {**outer, **{name: f"{place}{name}" if name in stored else name for name, _ in own}}
    stored.update((names[name], tensor) for name, tensor in own)
    for node in graph.node:
        if node.op_type == "Constant":
            continue
        for item in node.attribute:
            for inner in (*([item.g] if item.type == _GRAPH else []), *item.graphs):
                yield from _collect(
                    inner, stored, names, f"{text(node.name) or node.op_type}/{text(item.name)}/"
                )
        yield _operation(node, names)


def _operation(node: Any, names: Mapping[str, str]) -> Operation:
    """Turn a node into a record with plain attributes; graphs inside it are only named."""
    attributes: dict[str, Any] = {}
    for item in node.attribute:
        values = {1: item.f, 2: item.i, 3: item.s.decode("utf-8", "replace")[:1000]}
        lists = {6: item.floats, 7: item.ints}
        if item.type in values:
            attributes[text(item.name)] = values[item.type]
        elif item.type in lists:
            attributes[text(item.name)] = list(lists[item.type])
    return Operation(
        op=text(node.op_type),
        name=text(node.name),
        inputs=tuple(names.get(text(name), text(name)) for name in node.input),
        outputs=tuple(map(text, node.output)),
        attributes=attributes,
    )


def _targeted(step: Operation, tree: Mapping[str, Any]) -> Operation:
    """Note the target of a reshape if it is a constant: it is no weight, and would be left out."""
    leaf: Any = tree.get(step.inputs[1]) if step.op == "Reshape" and len(step.inputs) > 1 else None
    if not isinstance(leaf, Leaf) or leaf.dtype != "int64" or len(leaf.shape) != 1 or leaf.size > _AXES:
        return step
    return step.replace(attributes={**step.attributes, "shape": leaf.load().tolist()})


def _convention(step: Operation, tree: dict[str, Any]) -> None:
    """Turn the matrix of a dense layer to (out, in); join the directions and gates of a recurrent one."""
    if step.op in _RECURRENT:
        for name in step.inputs[1:4]:
            part: Any = tree.get(name)
            if isinstance(part, Leaf) and len(part.shape) > 1 and part.fit is None:
                tree[name] = replace(part, fit=(part.shape[0] * part.shape[1], *part.shape[2:]))
        return
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


_RECURRENT = ("LSTM", "GRU", "RNN")
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
