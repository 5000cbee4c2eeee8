"""The arrays of Keras files as PyTorch tensors: names, order and axes, with the way back in the leaves."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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
_NETWORK = re.compile(r"(sequential|functional|model)(_\d+)?")
_HEADS = re.compile(r"\.(\w+_)?(query|key|value|attention_output|output)(_dense)?$")
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
    kept = [name for name in arrays if name not in skipped]
    layout = _Layout(attributes, config or {})
    entries = {path: layout.entry(path) for path in kept}
    pointwise = {entry.layer for entry in entries.values() if entry.part == "pointwise_kernel"}
    found: dict[str, Leaf] = {}
    paths = sorted(kept, key=lambda path: layout.place(path, entries[path], kept))
    for path in paths:
        entry = entries[path]
        part = _NAMES.get(entry.part, entry.part)
        if entry.part == "depthwise_kernel" and entry.layer not in pointwise:
            part = "weight"
        name = f"{entry.layer}.{part}" if entry.layer else part
        name = name if name not in found else f"{entry.layer}.{entry.part}.{len(found)}"
        found[name] = _turned(arrays[path], entry)
    return found, skipped, paths


@dataclass(frozen=True)
class _Entry:
    """One array: the layer it is in, what it is there, and the kind of the layer."""

    layer: str
    part: str
    kind: str


class _Layout:
    """Names and order of layers, as far as a file tells them."""

    def __init__(self, attributes: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> None:
        steps = keras_graph(config)
        self.attributes = attributes
        self.kinds = {step.name: _snake(step.op) for step in steps}
        self.order = _listed(attributes, ("", "model_weights"), "layer_names") or [
            step.name for step in steps
        ]
        tops = [*self.order, *(f"model_weights/{name}" for name in self.order)]
        self.variables = _listed(attributes, tops, "weight_names", full=True)

    def entry(self, path: str) -> _Entry:
        """Split a path into the layer's name, what the array is in it, and the layer's kind."""
        parts = _parts(path)
        if "vars" in parts[:-1]:
            return self._numbered(parts)
        part = parts[-1].removesuffix(":0")
        layer = list(dict.fromkeys(parts[:-1]))
        if len(layer) > 1 and layer[0] in self.order:  # "dense/sequential/dense/kernel"
            layer = [layer[0], *[name for name in layer[1:] if not _NETWORK.fullmatch(name)]]
        kind = self.kinds.get(layer[0], "") if len(layer) == 1 else ""
        return _Entry(".".join(layer), part, kind or (layer[-1] if layer else ""))

    def _numbered(self, parts: list[str]) -> _Entry:
        """Read a path of a `.weights.h5` file: groups named by class, variables by number."""
        groups = [part for part in parts[:-1] if part != "vars"]
        kind = groups[-1] if groups else ""
        names = next((names for start, names in _VARIABLES.items() if start in kind), ("kernel", "bias"))
        index = int(parts[-1]) if parts[-1].isdecimal() and len(parts[-1]) < 6 else 0
        part = names[index] if index < len(names) else f"var{index}"
        if groups:
            given = self.attributes.get(f"layers/{groups[0]}/vars", {}).get("name")
            groups[0] = given if isinstance(given, str) and given else groups[0]
        return _Entry(".".join(groups) or "root", part, kind)

    def place(self, path: str, entry: _Entry, given: list[str]) -> tuple[Any, ...]:
        """Sort by the order of layers, then as the file lists its variables, then by number."""
        first = entry.layer.partition(".")[0]
        layer = self.order.index(first) if first in self.order else len(self.order)
        listed = self.variables.index(path) if path in self.variables else len(self.variables)
        groups = [] if layer < len(self.order) else [_natural(part) for part in _parts(path)[:-1]]
        return layer, listed, groups, given.index(path)


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
        kind, name = str(layer.get("class_name", "")), str(settings.get("name", ""))
        found.append(Operation(op=kind, name=name, attributes=plain))
    return tuple(found)


def parsed(text: Any) -> dict[str, Any]:
    """Parse a configuration; empty if it is none."""
    try:
        found = json.loads(text) if isinstance(text, str | bytes) else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _listed(
    attributes: Mapping[str, Mapping[str, Any]], groups: Iterable[str], key: str, full: bool = False
) -> list[str]:
    """Join lists of names; Keras cuts long ones into `key0`, `key1`, ..."""
    names: list[str] = []
    for group in groups:
        texts = attributes.get(group, {})
        parts = sorted(
            (part for part in texts if part.rstrip(_DIGITS) == key), key=lambda part: (len(part), part)
        )
        lists = [texts[part] for part in parts if isinstance(texts[part], list)]
        names += [f"{group}/{name}" if full else name for found in lists for name in found]
    return names


def _parts(path: str) -> list[str]:
    parts = path.split("/")
    return parts[1:] if parts[0] in ("model_weights", "layers") and len(parts) > 1 else parts


def _natural(text: str) -> tuple[str, int]:
    digits = text[len(text.rstrip(_DIGITS)) :]
    return text.rstrip(_DIGITS), int(digits[-9:] or 0)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _turned(leaf: Leaf, entry: _Entry) -> Leaf:
    """Note the order of axes that the PyTorch convention wants."""
    size, shape = len(leaf.shape), leaf.shape
    # A convolution over time may be called "output", too; the heads' layers stand inside another one.
    attention = _HEADS.search(entry.layer) is not None and "conv" not in entry.kind
    if entry.part == "bias" and size == 2 and attention:
        return replace(leaf, fit=(prod(shape),))
    if "kernel" not in entry.part or size < 2:
        return leaf
    if size == 2:
        return replace(leaf, axes=(1, 0))
    if size == 3 and attention:
        return _attention(leaf, entry.layer)
    room = tuple(range(size - 2))
    if entry.part == "depthwise_kernel" or "depthwise" in entry.kind:
        return replace(leaf, axes=(size - 2, size - 1, *room), fit=(prod(shape[-2:]), 1, *shape[:-2]))
    return replace(leaf, axes=(size - 1, size - 2, *room))


def _attention(leaf: Leaf, layer: str) -> Leaf:
    """Join the heads: query, key and value `(in, heads, width)`, output `(heads, width, out)`."""
    first, second, third = leaf.shape
    if layer.endswith(("output", "output_dense")):
        return replace(leaf, axes=(2, 0, 1), fit=(third, first * second))
    return replace(leaf, axes=(1, 2, 0), fit=(second * third, first))
