"""Walk the layers of a spec and turn each into nodes and edges of its parameter graph."""

from dataclasses import dataclass

import numpy as np

from weightatlas.errors import SpecError
from weightatlas.weights.graph_build import ONE, ZERO, Array, Builder, Made, Relation, tags_of
from weightatlas.weights.spec import Axis, NetworkSpec, Node, TensorSpec

LINEAR, CONV, NORM, SUM, PRODUCT, OTHER = range(6)
EDGE_KINDS = 6
ACTIVATIONS = (
    *("none", "relu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu", "sin", "elu", "softmax", "prelu"),
    "other",
)
_LIKE = {
    "relu6": "relu",
    "softplus": "relu",
    "mish": "silu",
    "hardswish": "silu",
    "celu": "elu",
    "selu": "elu",
}
_OTHER = ("hardtanh", "hardsigmoid", "softsign", "exp", "square", "abs", "log_softmax", "glu", "cos")
_NORM = ("norm_scale", "norm_shift", "running_mean", "running_var")
_PRODUCTS = ("mul", "div", "matmul", "bmm", "mm", "scaled_dot_product_attention", "sub", "maximum", "where")
_CONVS = tuple(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))


@dataclass(frozen=True, slots=True)
class Graph:
    """Everything a walk found.

    Args:
        blocks: In order of computation.
        activation: Per node, an index into `ACTIVATIONS`.
        outputs: Output nodes.
    """

    blocks: list[Made]
    activation: Array
    outputs: Array


def build(spec: NetworkSpec, frame: int) -> Graph:
    """Walk the layer graph, or the layers one after the other if there is none."""
    walk = _Walk(spec, frame)
    outputs = walk.traced(spec.graph) if spec.graph is not None else walk.listed()
    made = walk.made
    if outputs is None:
        last = made.blocks[-1]
        outputs = np.arange(last.start, last.start + last.size)
    return Graph(made.blocks, made.activation, outputs)


class _Walk:
    """Follows lines of nodes through the operations of a spec."""

    def __init__(self, spec: NetworkSpec, frame: int) -> None:
        self.spec, self.made = spec, Builder(spec, frame)

    def traced(self, graph: tuple[Node, ...]) -> Array | None:
        """Walk a traced layer graph; return the output nodes if they are known."""
        lines: list[Array | None] = []
        for node in graph:
            inputs = [lines[place] for place in node.inputs]
            if node.op == "output":
                return inputs[0] if inputs else None
            lines.append(self._operation(node, inputs))
        return None

    def listed(self) -> Array | None:
        """Take layers of a bare state dict to follow each other."""
        line: Array | None = None
        for members in self.spec.layers:
            line = self._layer("", members, {}, line)
        return line

    def _operation(self, node: Node, inputs: list[Array | None]) -> Array | None:
        """Return the line that leaves an operation, or none if it cannot be followed."""
        line = inputs[0] if inputs else None
        if node.op == "input":
            return self._input()
        if node.tensors:
            return self._layer(node.op, node.tensors, node.attributes, line)
        if node.op in ("cat", "concat", "concatenate"):
            return None if any(part is None for part in inputs) else np.concatenate(inputs)  # type: ignore[arg-type]
        if len(inputs) > 1:
            return self._meeting(SUM if node.op == "add" else PRODUCT, node.op, inputs)
        name = _LIKE.get(node.op, node.op)
        if line is not None and (name in ACTIVATIONS or name in _OTHER):
            self.made.activation[line] = ACTIVATIONS.index(name if name in ACTIVATIONS else "other")
        return line

    def _input(self) -> Array:
        shape = self.spec.input_shape or ()
        # Images and signals have their channels first, sequences of vectors and single vectors last.
        size = shape[0] if len(shape) > 2 else shape[-1] if shape else 1
        return self.made.nodes(np.full((size, 3), -1), 0)

    def _meeting(self, kind: int, op: str, inputs: list[Array | None]) -> Array | None:
        """Nodes in which several lines meet, one edge from each; none if the lines do not fit each other."""
        known = [line for line in inputs if line is not None]
        if len(known) != len(inputs) or op not in ("add", *_PRODUCTS):
            return None
        tags = [self.made.tags[line] for line in known]
        if any(other.shape != tags[0].shape or (other != tags[0]).any() for other in tags):
            return None
        return self.made.nodes(tags[0], 1, [self.made.single(line, None, kind) for line in known])

    def _layer(
        self, op: str, tensors: tuple[int, ...], attributes: dict[str, object], line: Array | None
    ) -> Array | None:
        """Turn the tensors of one layer into nodes; return the last ones."""
        specs = self.spec.tensors
        norm = [index for index in tensors if specs[index].role in _NORM]
        vectors = [i for i in tensors if len(specs[i].shape) < 2 and i not in norm]
        weights = [i for i in tensors if i not in norm and i not in vectors]
        composite = len(weights) > 1
        for place, index in enumerate(weights):
            made = self._weight(op, index, attributes, None if composite and place else line, composite)
            bias = next((i for i in vectors if specs[i].axes[:1] == self._axes(op, index)[:1]), None)
            if bias is not None:
                vectors.remove(bias)
                self._set(made, bias, 0)
            line = made
        for layer in sorted({specs[index].layer for index in norm}):
            line = self._norm([index for index in norm if specs[index].layer == layer], line)
        for index in vectors:
            line = self._vector(index, line)
        return line

    def _axes(self, op: str, index: int) -> tuple[Axis, ...]:
        """Axes of a weight, output first."""
        return _moved(self.spec.tensors[index], op)[1]

    def _weight(
        self, op: str, index: int, attributes: dict[str, object], line: Array | None, skip: bool
    ) -> Array:
        """Nodes of one weight: a block per run of its output axis, all columns read by each."""
        order, axes = _moved(self.spec.tensors[index], op)
        if sum(any(segment.group is not None for segment in axis) for axis in axes) > 2 or any(
            segment.group is not None for axis in axes[2:] for segment in axis
        ):
            raise SpecError(
                f"'{self.spec.tensors[index].name}' has three permuted axes; graphs have two ends."
            )
        flat = self.made.flat(index).transpose(order)
        if op in ("embedding", "parameter"):
            line = None
        groups = int(attributes.get("groups", 1) or 1)  # type: ignore[call-overload]
        kind = CONV if op in _CONVS else OTHER if op in ("embedding", "parameter") else LINEAR
        fan = int(np.prod(flat.shape[1:]))
        lines, start, seen = [], 0, set()
        for segment in axes[0]:
            rows = slice(start, start + segment.size)
            before = self.made.latest.get(-1 if segment.group is None else segment.group)
            tags = tags_of((segment,))
            relation = self._relations(flat[rows], axes[1], line, groups, rows, len(flat))
            found = [Relation(*relation[:2], kind, fan, relation[2])]
            if (skip or segment.group in seen) and before is not None and len(before) == len(tags):
                found.append(self.made.single(before, None, PRODUCT))
            lines.append(self.made.nodes(tags, 1, found))
            seen |= {segment.group} - {None}
            start = rows.stop
        return np.concatenate(lines)

    def _relations(
        self, flat: Array, axis: Axis, line: Array | None, groups: int, rows: slice, total: int
    ) -> tuple[Array, Array, Array]:
        """Source nodes, taps and parts of the rows of a weight; grouped layers read a part of the line."""
        if groups == 1 or line is None:
            source, taps, part = self.made.dense(flat, axis, line)
            return source[None], taps, part
        own = np.arange(rows.start, rows.stop) * groups // total
        width = len(line) // groups
        chosen = np.unique(own)
        if len(own) % len(chosen) or (own != np.repeat(chosen, len(own) // len(chosen))).any():
            chosen = own
        share = len(own) // len(chosen)
        grids = [
            self.made.dense(flat[place * share : (place + 1) * share], axis, line, int(group) * width)
            for place, group in enumerate(chosen)
        ]
        return np.stack([g[0] for g in grids]), np.concatenate([g[1] for g in grids]), grids[0][2]

    def _norm(self, tensors: list[int], line: Array | None) -> Array:
        """Nodes of a norm layer: one edge with the scale; shift and running moments are theirs."""
        specs = self.spec.tensors
        axis, numbers = specs[tensors[0]].axes[0], self.made.flat(tensors[0])
        source, tap = self.made.sources(axis, line)
        if int(tap.max()):
            source, _ = self.made.sources(axis, None)
        scale = next((i for i in tensors if specs[i].role == "norm_scale"), None)
        taps = None if scale is None else self.made.flat(scale).reshape(len(source), -1)
        relations = [self.made.single(source, taps, NORM)]
        if numbers.ndim > 1:
            others = [self.made.flat(i).reshape(len(source), -1) for i in tensors if i != scale]
            relations += [self.made.single(source, other, NORM) for other in others]
            return self.made.nodes(tags_of(axis), 1, relations)
        made = self.made.nodes(tags_of(axis), 1, relations)
        for index in tensors:
            if index != scale:
                self._set(made, index, ("norm_shift", "running_mean", "running_var").index(specs[index].role))
        return made

    def _vector(self, index: int, line: Array | None) -> Array | None:
        """Nodes of a vector that belongs to no weight: a slope per channel, a bare bias, a scalar."""
        own, numbers = self.spec.tensors[index], self.made.flat(index).reshape(-1)
        if own.role == "bias" or not own.shape:
            made = self.made.nodes(tags_of(own.axes[0] if own.axes else ()), 3)
            self._set(made, index, 0)
            return made
        if len(numbers) == 1 and line is not None:
            relation = self.made.single(line, np.repeat(numbers, len(line))[:, None], OTHER)
            return self.made.nodes(self.made.tags[line], 1, [relation])
        source, _ = self.made.sources(own.axes[0], line)
        return self.made.nodes(tags_of(own.axes[0]), 1, [self.made.single(source, numbers[:, None], OTHER)])

    def _set(self, line: Array, index: int, column: int) -> None:
        """Write the numbers of a vector to nodes."""
        numbers = self.made.flat(index).reshape(-1)
        for block in self.made.blocks:
            inside = (line >= block.start) & (line < block.start + block.size)
            if inside.any() and len(line) == len(numbers):
                block.scalars[line[inside] - block.start, column] = numbers[inside]


def _moved(tensor: TensorSpec, op: str) -> tuple[tuple[int, ...], tuple[Axis, ...]]:
    """Order of the axes of a weight: output, input, kernel; and the axes in that order."""
    count = len(tensor.shape)
    order = list(range(count))
    if op.startswith("conv_transpose") or op == "embedding":
        order[:2] = [1, 0]
    elif op == "parameter" or tensor.role in ("position", "embedding"):
        grouped = [i for i in range(count - 1) if any(s.group is not None for s in tensor.axes[i])]
        wide = [i for i in range(count - 1) if tensor.shape[i] > 1]
        inner = (grouped or wide or [0])[0]
        order = [count - 1, inner, *(i for i in range(count - 1) if i != inner)]
    return tuple(order), tuple(tensor.axes[i] for i in order)


__all__ = ["ACTIVATIONS", "EDGE_KINDS", "ONE", "ZERO", "Graph", "build"]
