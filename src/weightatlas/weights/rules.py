"""One axis rule per operation: how its inputs, tensors and outputs must be permuted together.

A rule gets a `Call` and returns the axes of the output. It ties axes with `unify` and
forbids permutations with `fix`; it raises `Opaque` where it does not know.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from weightatlas.weights.axes import (
    Line,
    constant,
    fix,
    fresh,
    length,
    resolve,
    stretch,
    unify,
)


class Opaque(Exception):
    """A rule does not know what an operation does to its axes."""


@dataclass
class Tracked:
    """A tensor during tracing: one line per axis."""

    lines: list[Line]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(length(line) for line in self.lines)


@dataclass
class Call:
    """One operation during tracing.

    Args:
        arguments: Arguments by name; tensors are `Tracked`, all else plain values.
        extra: Positional arguments that have no name.
        shapes: Shape of each output tensor.
    """

    arguments: dict[str, Any]
    extra: list[Any] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        value = self.arguments.get(name)
        return default if value is None else value

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shapes[0]


Rule = Callable[[Call], Tracked | list[Tracked]]
AnyRule = TypeVar("AnyRule", bound=Rule)
RULES: dict[str, Rule] = {}


def rule(*ops: str) -> Callable[[AnyRule], AnyRule]:
    """Register a function as the rule of some operations."""

    def register(function: AnyRule) -> AnyRule:
        RULES.update(dict.fromkeys(ops, function))
        return function

    return register


def channels(x: Tracked) -> Line:
    """Return the channel axis of an input with a batch axis."""
    return x.lines[1]


def tie(line: Line, *vectors: Tracked | None) -> None:
    """Let vectors (bias, norm scale, ...) move with an axis."""
    for vector in vectors:
        if vector is not None:
            unify(vector.lines[0], line)


def fix_all(*tensors: Tracked) -> None:
    """Forbid every permutation of some tensors."""
    for tensor in tensors:
        for line in tensor.lines:
            fix(line)


def constants(shape: tuple[int, ...]) -> Tracked:
    """Make a tensor none of whose axes may be permuted."""
    return Tracked([constant(size) for size in shape])


@rule("linear")
def _linear(call: Call) -> Tracked:
    x, weight = call["input"], call["weight"]
    unify(weight.lines[1], x.lines[-1])
    tie(weight.lines[0], call.get("bias"))
    return Tracked([*x.lines[:-1], weight.lines[0]])


@rule("bilinear")
def _bilinear(call: Call) -> Tracked:
    first, second, weight = call["input1"], call["input2"], call["weight"]
    unify(weight.lines[1], first.lines[-1])
    unify(weight.lines[2], second.lines[-1])
    tie(weight.lines[0], call.get("bias"))
    return Tracked([*first.lines[:-1], weight.lines[0]])


@rule("conv1d", "conv2d", "conv3d")
def _conv(call: Call) -> Tracked:
    x, weight = call["input"], call["weight"]
    groups = call.get("groups", 1)
    for kernel in weight.lines[2:]:
        fix(kernel)
    _grouped(channels(x), weight.lines[0], weight.lines[1], groups)
    tie(weight.lines[0], call.get("bias"))
    return Tracked([x.lines[0], weight.lines[0], *constants(call.shape[2:]).lines])


def _grouped(source: Line, rows: Line, columns: Line, groups: int) -> None:
    """Tie the input channels, rows and columns of a convolution with groups.

    Channels may be permuted inside every group alike (columns), rows inside each group on its own;
    with one channel a group, whole groups are permuted instead.
    """
    if groups == 1:
        unify(columns, source)
    elif length(columns) == 1:
        unify(rows, stretch(source, length(rows) // groups))
    else:
        unify(source, resolve(columns) * groups)
        unify(rows, tuple(run for _ in range(groups) for run in fresh(length(rows) // groups)))


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(call: Call) -> Tracked:
    x, weight, groups = call["input"], call["weight"], call.get("groups", 1)
    for kernel in weight.lines[2:]:
        fix(kernel)
    unify(weight.lines[0], channels(x))
    if groups == 1:
        out = weight.lines[1]
    elif length(weight.lines[0]) == groups:
        fix(weight.lines[1])
        out = stretch(weight.lines[0], length(weight.lines[1]))
    else:
        fix_all(weight)
        out = constant(call.shape[1])
    tie(out, call.get("bias"))
    return Tracked([x.lines[0], out, *constants(call.shape[2:]).lines])


@rule("batch_norm", "instance_norm")
def _channel_norm(call: Call) -> Tracked:
    x = call["input"]
    names = ("weight", "bias", "running_mean", "running_var")
    tie(channels(x), *(call.get(name) for name in names))
    return x


@rule("layer_norm", "rms_norm")
def _layer_norm(call: Call) -> Tracked:
    x = call["input"]
    for vector in (call.get("weight"), call.get("bias")):
        if vector is not None:
            for line, own in zip(x.lines[-len(vector.lines) :], vector.lines, strict=True):
                unify(own, line)
    return x


@rule("group_norm")
def _group_norm(call: Call) -> Tracked:
    """Channels keep their norm group: each group's channels are permuted among themselves."""
    x, groups = call["input"], call["num_groups"]
    line = channels(x)
    size = length(line) // groups
    if size > 1:
        unify(line, tuple(run for _ in range(groups) for run in fresh(size)))
    tie(line, call.get("weight"), call.get("bias"))
    return x


@rule("prelu")
def _prelu(call: Call) -> Tracked:
    x, weight = call["input"], call["weight"]
    if weight.shape[0] > 1:
        unify(weight.lines[0], channels(x))
    return x


@rule("embedding")
def _embedding(call: Call) -> Tracked:
    x, weight = call["input"], call["weight"]
    fix(weight.lines[0])
    fix_all(x)
    return Tracked([*x.lines, weight.lines[1]])


@rule("multihead_attention")
def _multihead_attention(call: Call) -> list[Tracked]:
    """Heads move as a whole; with one head, keys and values move each on their own."""
    query, key, value, heads = call["query"], call["key"], call["value"], call["num_heads"]
    masks = (call.get("attn_mask"), call.get("key_padding_mask"), call.get("bias_k"))
    if call.get("add_zero_attn") or any(mask is not None for mask in masks):
        raise Opaque("attention with extra keys or a mask")
    out = call["out_proj.weight"]
    width = out.shape[1]
    keys = fresh(width) if heads == 1 else stretch(fresh(heads), width // heads)
    values = fresh(width) if heads == 1 else keys
    if call.get("in_proj_weight") is not None:
        unify(call["in_proj_weight"].lines[0], keys + keys + values)
        for source in (query, key, value):
            unify(call["in_proj_weight"].lines[1], source.lines[-1])
    else:
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        for name, rows, source in zip(names, (keys, keys, values), (query, key, value), strict=True):
            unify(call[name].lines[0], rows)
            unify(call[name].lines[1], source.lines[-1])
    tie(keys + keys + values, call.get("in_proj_bias"))
    unify(out.lines[1], values)
    tie(out.lines[0], call.get("out_proj.bias"))
    attended = Tracked([*query.lines[:-1], out.lines[0]])
    return [attended, *(constants(shape) for shape in call.shapes[1:])]


@rule("transformer_encoder_layer")
def _transformer_encoder_layer(call: Call) -> Tracked:
    return _encoder_layer(call, call["input"], "")


@rule("transformer_encoder")
def _transformer_encoder(call: Call) -> Tracked:
    x = call["input"]
    for number in range(call["num_layers"]):
        x = _encoder_layer(call, x, f"layers.{number}.")
    if call.get("norm.weight") is not None:
        tie(x.lines[-1], call["norm.weight"], call.get("norm.bias"))
    return x


def _encoder_layer(call: Call, x: Tracked, prefix: str) -> Tracked:
    """Compose attention, feed-forward layers and norms; pre- and post-norm tie the same axes."""
    masks = [call.get(name) for name in ("src_mask", "mask", "src_key_padding_mask")] + call.extra
    if any(mask is not None for mask in masks):
        raise Opaque("a transformer with a mask")
    parts = {name.removeprefix(prefix): value for name, value in call.arguments.items()}
    own = {name.removeprefix("self_attn."): value for name, value in parts.items()}
    own |= {"query": x, "key": x, "value": x, "num_heads": call["num_heads"]}
    attended = broadcast([x, _multihead_attention(Call(own, shapes=[x.shape]))[0]], x.shape)
    hidden = attended
    for name in ("linear1", "linear2"):
        tensors = {"weight": parts[f"{name}.weight"], "bias": parts.get(f"{name}.bias")}
        hidden = _linear(Call({"input": hidden, **tensors}))
    x = broadcast([attended, hidden], x.shape)
    for norm in ("norm1", "norm2"):
        tie(x.lines[-1], parts.get(f"{norm}.weight"), parts.get(f"{norm}.bias"))
    return x


@rule("scaled_dot_product_attention")
def _attention(call: Call) -> Tracked:
    query, key, value = call["query"], call["key"], call["value"]
    if call.get("attn_mask") is not None or call.get("is_causal") or call.get("enable_gqa"):
        fix_all(*(Tracked(t.lines[:-1]) for t in (query, key, value)))
        if isinstance(call.get("attn_mask"), Tracked):
            fix_all(call["attn_mask"])
    for line_q, line_k, line_v in zip(query.lines[:-2], key.lines[:-2], value.lines[:-2], strict=True):
        if length(line_q) == length(line_k) == length(line_v):
            unify(line_q, line_k)
            unify(line_k, line_v)
    unify(query.lines[-1], key.lines[-1])
    unify(key.lines[-2], value.lines[-2])
    return Tracked([*query.lines[:-1], value.lines[-1]])


def broadcast(tensors: list[Tracked], shape: tuple[int, ...]) -> Tracked:
    """Tie the axes of tensors that are combined entry by entry."""
    lines: list[Line] = []
    for back in range(len(shape), 0, -1):
        found = [t.lines[-back] for t in tensors if len(t.lines) >= back]
        full = [line for line in found if length(line) == shape[-back]]
        for line in full[1:]:
            unify(full[0], line)
        lines.append(full[0] if full else constant(shape[-back]))
    return Tracked(lines)
