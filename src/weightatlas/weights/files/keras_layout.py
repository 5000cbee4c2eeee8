"""The arrays of Keras files as PyTorch tensors: names, order and axes, with the way back in the leaves."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

from weightatlas.weights.files.checkpoint import Operation
from weightatlas.weights.files.leaf import Leaf

_NAMES = {
    "kernel": "weight",
    "embeddings": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "depthwise_kernel": "depthwise.weight",
    "pointwise_kernel": "pointwise.weight",
    "recurrent_kernel": "recurrent_weight",
}
# What the numbered variables of `.weights.h5` are, by the kind of layer; others: kernel, bias.
_VARIABLES = {
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "layer_normalization": ("gamma", "beta"),
    "group_normalization": ("gamma", "beta"),
    "unit_normalization": ("gamma", "beta"),
    "embedding": ("embeddings",),
    "separable_conv": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "depthwise_conv": ("depthwise_kernel", "bias"),
    "p_re_lu": ("alpha",),
    "prelu": ("alpha",),
    "normalization": ("mean", "variance", "count"),
    "lstm": ("kernel", "recurrent_kernel", "bias"),
    "gru": ("kernel", "recurrent_kernel", "bias"),
    "rnn": ("kernel", "recurrent_kernel", "bias"),
    "cell": ("kernel", "recurrent_kernel", "bias"),
}
_DIGITS = "0123456789"
_OPTIMIZER = re.compile(r"^(optimizer_weights|optimizer|_?training)(/|$)")


def is_keras(arrays: Mapping[str, Leaf], attributes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether Keras wrote an HDF5 file."""
    top = {key.rstrip(_DIGITS) for name in ("", "model_weights") for key in attributes.get(name, {})}
    if top & {"layer_names", "keras_version", "model_config"}:
        return True
    return bool(arrays) and all("vars" in name.split("/")[:-1] for name in arrays)


def keras_tree(
    arrays: Mapping[str, Leaf],
    attributes: Mapping[str, Mapping[str, Any]],
    config: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Leaf], dict[str, str], list[str]]:
    """Bring the arrays of a Keras file to PyTorch's names, order and axes.

    Dense kernels `(in, out)` become `(out, in)`, convolution kernels `(..., in, out)` become
    `(out, in, ...)`, transposed ones `(..., out, in)` become `(in, out, ...)`, and depthwise ones
    `(..., in, times)` become `(in * times, 1, ...)`.

    Args:
        arrays: Path in the file -> tensor.
        attributes: Path -> texts.
        config: The network's configuration, for the order of its layers.

    Returns:
        "layer.weight" -> tensor with its axes; key -> reason for what was left out; the path of each name.
    """
    skipped = {name: "optimizer state" for name in arrays if _OPTIMIZER.match(name)}
    kept = {name: leaf for name, leaf in arrays.items() if name not in skipped}
    order = _order(attributes, config)
    found: dict[str, Leaf] = {}
    paths: list[str] = []
    for path in sorted(kept, key=lambda name: _place(name, order, list(kept))):
        layer, part = _split(path, attributes, order)
        name = _name(layer, part, found)
        found[name] = _turned(kept[path], layer, part)
        paths.append(path)
    return found, skipped, paths


def keras_graph(config: Mapping[str, Any]) -> tuple[Operation, ...]:
    """List the layers of a Keras configuration as operations."""
    layers = config.get("config", {})
    layers = layers.get("layers", []) if isinstance(layers, dict) else []
    wanted = (str, int, float, bool, list)
    found = []
    for layer in layers if isinstance(layers, list) else []:
        settings = layer.get("config", {}) if isinstance(layer, dict) else {}
        if not isinstance(settings, dict):
            continue
        plain = {key: item for key, item in settings.items() if isinstance(item, wanted)}
        found.append(
            Operation(
                op=str(layer.get("class_name", "")), name=str(settings.get("name", "")), attributes=plain
            )
        )
    return tuple(found)


def parsed(text: Any) -> dict[str, Any]:
    """Parse a configuration; empty if it is none."""
    try:
        found = json.loads(text) if isinstance(text, str | bytes) else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _order(attributes: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any] | None) -> list[str]:
    """List the layers in the order of the network, as far as the file tells it."""
    names: list[str] = []
    for top in ("", "model_weights"):
        texts = attributes.get(top, {})
        parts = sorted(
            (key for key in texts if key.rstrip(_DIGITS) == "layer_names"), key=lambda k: (len(k), k)
        )
        names += [name for key in parts if isinstance(texts[key], list) for name in texts[key]]
    return names or [step.name for step in keras_graph(config or {})]


def _place(path: str, order: list[str], given: list[str]) -> tuple[int, list[tuple[int, int, str]], int]:
    """Sort by the order of layers, then by number, then as the file gave them."""
    parts = [part for part in path.split("/") if part not in ("model_weights", "layers")]
    first = order.index(parts[0]) if parts[0] in order else len(order)
    groups = [(0, int(p), "") if p.isdecimal() else (1, _number(p), p.rstrip(_DIGITS)) for p in parts[:-1]]
    return first, groups if first == len(order) or "vars" in parts else [], given.index(path)


def _number(text: str) -> int:
    return int(text[len(text.rstrip(_DIGITS)) :] or 0)


def _split(path: str, attributes: Mapping[str, Mapping[str, Any]], order: list[str]) -> tuple[str, str]:
    """Split a path into the layer's name and what the array is in it."""
    parts = [part for part in path.split("/") if part not in ("model_weights", "layers")]
    if "vars" in parts[:-1]:
        at = len(parts) - 2
        layer = ".".join(part for part in parts[:at] if part != "vars") or "root"
        kind = parts[at - 1] if at else ""
        names = next((names for start, names in _VARIABLES.items() if start in kind), None)
        index = int(parts[-1]) if parts[-1].isdecimal() else 0
        names = names or ("kernel", "bias")
        return layer, names[index] if index < len(names) else f"var{index}"
    part = parts[-1].removesuffix(":0")
    layer = list(dict.fromkeys(parts[:-1]))
    if order and len(layer) > 1 and layer[0] in order:  # "dense/sequential/dense/kernel"
        layer = [layer[0], *[name for name in layer[1:] if not _is_network(name) and name != layer[0]]]
    return ".".join(layer), part


def _is_network(name: str) -> bool:
    return re.fullmatch(r"(sequential|functional|model)(_\d+)?", name) is not None


def _name(layer: str, part: str, taken: Mapping[str, Leaf]) -> str:
    name = f"{layer}.{_NAMES.get(part, part)}" if layer else _NAMES.get(part, part)
    return name if name not in taken else f"{layer}.{part}.{len(taken)}"


def _turned(leaf: Leaf, layer: str, part: str) -> Leaf:
    """Note the order of axes that the PyTorch convention wants."""
    size, shape = len(leaf.shape), leaf.shape
    if part == "bias" and size == 2 and "attention" in layer:
        return replace(leaf, fit=(prod(shape),))
    if "kernel" not in part or size < 2:
        return leaf
    if size == 2:
        return replace(leaf, axes=(1, 0))
    if size == 3 and "attention" in layer:
        return _attention(leaf, layer)
    room = tuple(range(size - 2))
    depthwise = part == "depthwise_kernel" or "depthwise" in layer
    if depthwise:
        return replace(leaf, axes=(size - 2, size - 1, *room), fit=(prod(shape[-2:]), 1, *shape[:-2]))
    return replace(leaf, axes=(size - 1, size - 2, *room))


def _attention(leaf: Leaf, layer: str) -> Leaf:
    """Join the heads: query, key and value `(in, heads, width)`, output `(heads, width, out)`."""
    first, second, third = leaf.shape
    if layer.endswith(("output", "output_dense")):
        return replace(leaf, axes=(2, 0, 1), fit=(third, first * second))
    return replace(leaf, axes=(1, 2, 0), fit=(second * third, first))
