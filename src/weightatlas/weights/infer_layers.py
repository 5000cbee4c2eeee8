"""Leaf modules: what one layer is, told from the names and shapes of its own tensors."""

import re
from dataclasses import dataclass, field
from typing import Literal

from weightatlas.weights.axes import Line, constant, fix, fresh, length, unify
from weightatlas.weights.infer_names import Module
from weightatlas.weights.spec import Role

Certainty = Literal["certain", "likely", "unknown"]

_EMBEDDINGS = re.compile(r"(embed|emb$|embeddings?$|^wte$|^wpe$|^tok|word|^shared$|_embs?$|lookup)", re.I)
_NORMS = re.compile(r"(norm|^ln|^bn|^gn|_ln$|_bn$|_gn$)", re.I)
_LAYER_NORMS = re.compile(r"(layer_?norm|^ln|_ln$|rms)", re.I)
_TRANSPOSED = re.compile(r"(transpose|deconv|convt|upconv|upsample$|^up(conv)?\d*$)", re.I)
_TOKENS = re.compile(r"(pos|token|type_embed)", re.I)
_MOMENTS: dict[str, Role] = {"running_mean": "running_mean", "running_var": "running_var"}


@dataclass(frozen=True)
class Guess:
    """One conclusion from names and shapes, how sure it is, and why.

    Args:
        subject: The tensor, layer or pair of layers.
        kind: What the conclusion is about: role, layer, boundary, stream or group.
        value: The conclusion.
        certainty: "certain", "likely" (written down, but nothing is permuted because of it) or "unknown".
        reason: Why, in words.
    """

    subject: str
    kind: Literal["role", "layer", "boundary", "stream", "group"]
    value: str
    certainty: Certainty
    reason: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.value} ({self.kind}, {self.certainty}): {self.reason}"


@dataclass(eq=False)
class Unit:
    """A part of a network with one input axis and one output axis.

    Args:
        name: Its full name.
        kind: conv, depthwise, linear, norm, scale, embedding, attention, feed_forward, residual, chain,
            lora, recurrent or loose.
        source: Axis it reads, or none.
        out: Axis it writes, or none.
        spatial: Whether its output has positions beside channels.
        first: Whether what it reads with is a linear layer, which may stand behind a flatten.
        plain_norm: A norm without running statistics: layer norm, or group norm, which ties channels.
        taps: Axes closed inside it, open to a consumer elsewhere that cannot be explained.
        layers: How many weight layers it holds.
        axes: All axes of a loose tensor.
    """

    name: str
    kind: str
    source: Line | None = None
    out: Line | None = None
    spatial: bool = False
    first: str = ""
    plain_norm: bool = False
    taps: list[Line] = field(default_factory=list)
    layers: int = 1
    axes: list[Line] = field(default_factory=list)

    @property
    def width_in(self) -> int:
        return 0 if self.source is None else length(self.source)

    @property
    def width_out(self) -> int:
        return 0 if self.out is None else length(self.out)


class Reader:
    """Turns leaf modules into units and notes the role of every tensor.

    Args:
        root: All modules.
        channels_last: Whether flattens put positions before channels.
    """

    def __init__(self, root: Module, channels_last: bool = False) -> None:
        self.channels_last = channels_last
        self.lines: dict[str, list[Line]] = {}
        self.roles: dict[str, Role] = {}
        self.guesses: list[Guess] = []
        self.leaves = [node for node in root.walk() if node.tensors]
        for node in self.leaves:
            for local, shape in node.tensors.items():
                self.lines[node.full(local)] = [fresh(size) for size in shape]
        self.transposed = _foreign_linears(self.leaves)
        weights = [node for node in self.leaves if len(node.tensors.get("weight", ())) >= 2]
        self.first = weights[0] if weights else None
        ranks = [len(node.tensors["weight"]) for node in weights]
        # Convs before linears and a linear at the end: a classifier, which has no transposed convs.
        self.ordinary = ranks == sorted(ranks, reverse=True) and ranks[-1:] == [2]
        narrow = [node for node in weights[:-1] if node.tensors["weight"][0] == 1]
        self.one_channel = any(len(node.tensors["weight"]) > 2 for node in narrow)

    def unit(self, node: Module) -> Unit:
        """Classify one leaf module."""
        names = node.tensors
        rank = len(names.get("weight", names.get("gamma", names.get("running_mean", ()))))
        if "in_proj_weight" in names:
            return self._packed(node)
        if rank == 1:
            return self._norm(node)
        if rank > 1 and names.get("bias") == names.get("weight"):
            return self._wide_norm(node)
        if rank == 2 and not self._is_embedding(node):
            return self._linear(node)
        if rank == 2:
            return self._embedding(node)
        return self._conv(node) if rank > 2 else self._loose(node)

    def say(self, subject: str, kind: str, value: str, certainty: Certainty, reason: str) -> None:
        """Write a conclusion down."""
        self.guesses.append(Guess(subject, kind, value, certainty, reason))  # pyright: ignore[reportArgumentType]

    def loose(self, node: Module, skip: tuple[str, ...] = ()) -> list[Unit]:
        """Make units of the tensors a module owns beside its layer: tokens, positions, scales."""
        left = [name for name in node.tensors if name not in skip]
        return [self._loose_tensor(node, name) for name in left]

    def _is_embedding(self, node: Module) -> bool:
        return "bias" not in node.tensors and bool(_EMBEDDINGS.search(node.name))

    def _linear(self, node: Module) -> Unit:
        rows, columns = self.lines[node.full("weight")]
        if node.path in self.transposed:
            rows, columns = columns, rows
        self._weights(node, rows, f"linear {length(columns)} → {length(rows)}", "a matrix of weights")
        return Unit(node.path, "linear", columns, rows, first="linear")

    def _embedding(self, node: Module) -> Unit:
        rows, columns = self.lines[node.full("weight")]
        fix(rows)
        self.roles[node.full("weight")] = "embedding"
        value = f"embedding of {length(rows)} × {length(columns)}"
        self.say(node.path, "layer", value, "likely", "its name says so, and it has no bias")
        return Unit(node.path, "embedding", None, columns)

    def _conv(self, node: Module) -> Unit:
        rows, columns, *kernel = self.lines[node.full("weight")]
        for line in kernel:
            fix(line)
        size = "×".join(str(length(line)) for line in kernel)
        bias = node.tensors.get("bias", (length(rows),))[0]
        if bias == length(columns) != length(rows) or _TRANSPOSED.search(node.name):
            sure = bias != length(rows)
            value = f"transposed conv {size}, {length(rows)} → {length(columns)}"
            self._weights(node, columns, value, "its bias is as long as its second axis" if sure else "")
            if not sure:
                fix(rows)
                fix(columns)
            return Unit(node.path, "conv", rows, columns, spatial=True, first="conv")
        value = f"conv {size}, {length(columns)} → {length(rows)}"
        if length(columns) == 1 < length(rows) and node is not self.first and not self.one_channel:
            self._weights(node, rows, f"depthwise conv {size} of {length(rows)}", "it reads one channel")
            return Unit(node.path, "depthwise", rows, rows, spatial=True, first="conv")
        if length(columns) == length(rows) and not self.ordinary:
            unify(columns, rows)  # Right for a conv and for a transposed one alike.
        self._weights(node, rows, value, f"a weight of {2 + len(kernel)} axes")
        return Unit(node.path, "conv", columns, rows, spatial=True, first="conv")

    def _weights(self, node: Module, rows: Line, value: str, reason: str) -> None:
        """Note the roles of a layer with weight and bias, and tie the bias to its output axis."""
        self.roles[node.full("weight")] = "weight"
        if "bias" in node.tensors:
            self.roles[node.full("bias")] = "bias"
            bias = self.lines[node.full("bias")]
            self._tie(bias[0] if len(bias) == 1 else constant(0), rows)
        sure: Certainty = "certain" if reason else "likely"
        self.say(node.path, "layer", value, sure, reason or "the length of its bias, or its name")

    def _tie(self, vector: Line, line: Line) -> None:
        if length(vector) == length(line):
            unify(vector, line)
            return
        fix(vector)
        fix(line)

    def _norm(self, node: Module) -> Unit:
        names = node.tensors
        moving = "running_mean" in names
        vectors = [n for n in ("weight", "gamma", "bias", "beta", *_MOMENTS) if n in names]
        line = self.lines[node.full(vectors[0])][0]
        for name in vectors:
            for other in self.lines[node.full(name)]:
                self._tie(other, line)
        alone = not moving and not {"bias", "beta"} & set(names)
        named = bool(_NORMS.search(node.name)) or node.name in ("normalization",)
        scale: Role = "norm_scale" if not alone or named else "other"
        for name in vectors:
            start: Role = scale if name in ("weight", "gamma") else "norm_shift"
            self.roles[node.full(name)] = _MOMENTS.get(name, start)
        what = "batch norm" if moving else ("scale" if alone else "norm")
        reason = "running statistics" if moving else "a vector of weights without running statistics"
        sure: Certainty = "certain" if moving else "likely"
        self.say(node.path, "layer", f"{what} of {length(line)}", sure, reason)
        plain = not moving and not alone and not _LAYER_NORMS.search(node.name)
        return Unit(node.path, "scale" if alone else "norm", line, line, plain_norm=plain, layers=0)

    def _wide_norm(self, node: Module) -> Unit:
        """A layer norm over several axes; which of them are channels is unknown."""
        lines = [line for name in node.tensors for line in self.lines[node.full(name)]]
        self.roles |= {node.full("weight"): "norm_scale", node.full("bias"): "norm_shift"}
        self.say(
            node.path, "layer", "norm over several axes", "likely", "its bias has the shape of its weight"
        )
        return Unit(node.path, "loose", axes=lines, layers=0)

    def _packed(self, node: Module) -> Unit:
        """Fix the rows of torch's attention, which stack queries, keys and values."""
        for local in ("in_proj_weight", "in_proj_bias"):
            if local in node.tensors:
                self.roles[node.full(local)] = "weight" if "weight" in local else "bias"
                fix(self.lines[node.full(local)][0])
        return Unit(node.path, "attention", self.lines[node.full("in_proj_weight")][-1], None)

    def _loose(self, node: Module) -> Unit:
        return self._loose_tensor(node, next(iter(node.tensors)))

    def _loose_tensor(self, node: Module, local: str) -> Unit:
        name = node.full(local)
        self.roles[name] = "position" if "pos" in local.lower() else "other"
        lines = self.lines[name]
        if len(lines) > 1 and _TOKENS.search(local):
            for line in lines[:-1]:
                fix(line)
            self.say(name, "role", "token or position", "likely", "its name says so")
            return Unit(name, "token", None, lines[-1], layers=0)
        self.say(name, "role", self.roles[name], "unknown", "no layer with such a tensor is known")
        return Unit(name, "loose", axes=lines, layers=0)


def _foreign_linears(leaves: list[Module]) -> set[str]:
    """Find linear layers stored as (in, out): a bias as long as the second axis gives them away.

    Layers of the same name follow the one that is certain, because one class made them all.
    """
    words: dict[str, set[bool]] = {}
    for node in leaves:
        shape, bias = node.tensors.get("weight", ()), node.tensors.get("bias", ())
        if len(shape) == 2 and len(bias) == 1 and shape[0] != shape[1]:
            words.setdefault(_word(node), set()).add(bias[0] == shape[1])
    turned = {word for word, votes in words.items() if votes == {True}}
    family = {"c_attn", "c_proj", "c_fc"}
    turned |= family if turned & family else set()
    return {
        node.path for node in leaves if len(node.tensors.get("weight", ())) == 2 and _word(node) in turned
    }


def _word(node: Module) -> str:
    """Name of a layer without its number: conv1 and conv2 are of one class."""
    return node.name.rstrip("0123456789") or node.path
