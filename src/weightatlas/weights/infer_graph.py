"""The graph that an ONNX file keeps -> which axes of its tensors move together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from weightatlas.weights.axes import Line, fix, fresh, length, stretch, unify
from weightatlas.weights.files.checkpoint import Operation
from weightatlas.weights.infer_layers import Guess, Unit
from weightatlas.weights.infer_reshape import Reshapes
from weightatlas.weights.spec import Role

_SAME = {
    *("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"),
    *(
        "Softplus",
        "Softsign",
        "Erf",
        "Abs",
        "Sqrt",
        "Exp",
        "Log",
        "Neg",
        "Clip",
        "Identity",
        "Dropout",
        "Cast",
    ),
    *("Mish", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "Softmax"),
    *("LogSoftmax", "Sin", "Cos", "Reciprocal", "Floor", "Round", "ThresholdedRelu", "Resize", "Upsample"),
}
_NESTED = {"If", "Loop", "Scan"}  # read values that their inputs do not name
_RECURRENT = ("LSTM", "GRU", "RNN")
_TOGETHER = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "PRelu", "Pow"}
_NORMS: tuple[tuple[str, Role], ...] = (
    *(("scale", "norm_scale"), ("bias", "norm_shift")),
    *(("mean", "running_mean"), ("variance", "running_var")),
)


class Stream(NamedTuple):
    """A value of the graph: its channels, and whether positions stand behind them.

    Args:
        line: The channels, or none for the input of the network.
        spatial: True for (batch, channels, positions ...), false for (..., features).
        flat: Whether it went through a flatten or a reshape since.
    """

    line: Line | None
    spatial: bool = True
    flat: bool = False


class Refused(Exception):
    """An operation is not understood in this use; everything it touches is fixed."""


class GraphReader:
    """Walks the operations of a graph and ties the axes of tensors.

    Args:
        shapes: Name -> shape of the floating tensors; matrices as (out, in).
        graph: The operations, the last one naming the outputs ("Output").
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], graph: Sequence[Operation]) -> None:
        self.lines = {name: [fresh(size) for size in shape] for name, shape in shapes.items()}
        self.roles: dict[str, Role] = {}
        self.order: list[tuple[str, int]] = []
        self.guesses: list[Guess] = []
        self.units: list[Unit] = []
        self.graph, self.reshapes = graph, Reshapes(graph)
        given = graph[-1].attributes.get("inputs", ()) if graph else ()
        self.streams: dict[str, Stream] = {name: Stream(None) for name in given}
        if any(step.op in _NESTED for step in graph):
            for name in shapes:
                self._fix(name)
        uses = Counter(name for step in graph for name in step.inputs if len(shapes.get(name, ())) >= 2)
        for name in (name for name, count in uses.items() if count > 1):
            self._fix(name)  # One matrix in two places: its two readings need not agree.

    def read(self) -> None:
        """Apply every operation; what is not understood is fixed and said."""
        for place, step in enumerate(self.graph):
            before = len(self.order)
            try:
                out = self._apply(step)
            except (Refused, ValueError, IndexError, KeyError) as error:
                for name in step.inputs:
                    self._fix(name)
                out = Stream(None)
                if step.op != "Output":
                    self._say(
                        step, "layer", f"{step.op} stays fixed", "unknown", str(error) or "not understood"
                    )
            for name in step.inputs:
                if name in self.lines and name not in dict(self.order):
                    self.order.append((name, place))
            self.streams |= dict.fromkeys(step.outputs, out)
            if len(self.order) > before and step.op != "Output":
                self._describe(step)

    def _apply(self, step: Operation) -> Stream:
        if step.op in _SAME:
            return self._stream(step.inputs[0])
        if step.op in _TOGETHER:
            return self._combine(step)
        own = {
            "Conv": self._conv,
            "Gemm": self._linear,
            "MatMul": self._linear,
            "BatchNormalization": self._norm,
            "InstanceNormalization": self._norm,
            "LayerNormalization": self._norm,
            "Concat": self._concat,
            "Flatten": self._flatten,
            "Reshape": self._flatten,
            "Squeeze": self._flatten,
            "ReduceMean": self._reduce,
            "ReduceMax": self._reduce,
            **dict.fromkeys(_RECURRENT, self._recurrent),
        }
        if step.op not in own:
            raise Refused("there is no rule for it")
        return own[step.op](step)

    def _conv(self, step: Operation) -> Stream:
        x, weight = self._stream(step.inputs[0]), self._tensor(step.inputs[1], "weight")
        rows, columns, *kernel = weight
        for line in kernel:
            fix(line)
        groups = int(step.attributes.get("group", 1))
        if x.flat or not x.spatial:
            raise Refused("its input was reshaped")
        if groups == 1:
            self._link(x.line, columns)
        elif x.line is not None and length(columns) == 1:
            unify(rows, stretch(x.line, length(rows) // groups))
        else:
            raise Refused("a convolution with groups")
        self._bias(step, 2, rows)
        return Stream(rows)

    def _linear(self, step: Operation) -> Stream:
        x = self._stream(step.inputs[0])
        rows, columns = self._tensor(step.inputs[1], "weight")
        if step.attributes.get("transA"):
            raise Refused("its input is turned")
        if x.spatial and x.line is not None and not (x.flat and step.op == "Gemm"):
            raise Refused("it reads positions, or an unknown reshape")
        if x.line is not None and length(columns) > length(x.line):
            text = f"flatten of {length(x.line)} channels × {length(columns) // length(x.line)} positions"
            self._say(step, "boundary", text, "certain", "the graph flattens in front of it")
        self._link(x.line, columns)
        self._bias(step, 2, rows)
        return Stream(rows, spatial=False)

    def _recurrent(self, step: Operation) -> Stream:
        for place, name in enumerate(step.inputs[1:4]):
            if name in self.lines:
                self.roles.setdefault(name, "weight" if place < 2 else "bias")
        raise Refused("its gates are stacked and its state is fed back")

    def _norm(self, step: Operation) -> Stream:
        x = self._stream(step.inputs[0])
        layer = step.op == "LayerNormalization"
        if x.line is None or (layer and (x.spatial or step.attributes.get("axis", -1) != -1)):
            raise Refused("which axis it normalizes is unknown")
        line = x.line
        for (_, role), name in zip(_NORMS, step.inputs[1:], strict=False):
            (own,) = self._tensor(name, role)
            times = length(own) // length(x.line)
            if times > 1 and not x.flat:
                raise Refused("it normalizes more than channels")
            unify(stretch(x.line, times), own)
            line = own
        return Stream(line, x.spatial and length(line) == length(x.line), x.flat)

    def _combine(self, step: Operation) -> Stream:
        """Tie everything that is combined entry by entry; numbers of one entry are free."""
        streams = [self.streams[name] for name in step.inputs if name in self.streams]
        if any(stream.line is None for stream in streams) or not streams:
            raise Refused("the network's input is combined with it")
        x = max(streams, key=lambda stream: length(stream.line or ()))
        for other in streams:
            if (other.spatial, other.flat) != (x.spatial, x.flat):
                raise Refused("values of different shapes are combined")
            if other.line is not None and x.line is not None and length(other.line) > 1:
                unify(other.line, x.line)
        for name in (name for name in step.inputs if name in self.lines):
            self._vector(name, x, "bias" if step.op in ("Add", "Sub") else "other")
        return x

    def _vector(self, name: str, x: Stream, role: Role) -> None:
        """Tie a tensor that is combined with a stream along its channels."""
        lines, line = self.lines[name], x.line or ()
        wide = [place for place, own in enumerate(lines) if length(own) > 1]
        wanted = len(lines) - 1 if not x.spatial else (1 if len(lines) > 2 and length(lines[0]) == 1 else 0)
        if x.flat or (wide and wide != [wanted]) or (x.spatial and wide and len(lines) < 3):
            raise Refused(f"'{name}' is combined with it along other axes")
        self.roles.setdefault(name, role)
        if wide:
            unify(lines[wanted], line)

    def _concat(self, step: Operation) -> Stream:
        streams = [self._stream(name) for name in step.inputs]
        axis, spatial = int(step.attributes.get("axis", 1)), streams[0].spatial
        known = all(s.line is not None and s.spatial == spatial and not s.flat for s in streams)
        if not known or axis not in ((1,) if spatial else (1, -1)):
            raise Refused("values of different shapes, or along other axes, are joined")
        return Stream(tuple(run for stream in streams for run in stream.line or ()), spatial)

    def _flatten(self, step: Operation) -> Stream:
        x = self._stream(step.inputs[0])
        if step.op == "Flatten" and step.attributes.get("axis", 1) != 1:
            raise Refused("it flattens other axes")
        channels = length(x.line) if step.op == "Reshape" and x.line is not None and x.spatial else 0
        if channels and not self.reshapes.keeps_batch(step, channels):
            raise Refused("channels are reshaped in an unknown way")
        return x._replace(flat=True) if x.spatial else self._kept(step, x)

    def _kept(self, step: Operation, x: Stream) -> Stream:
        """Flatten leaves features as they are; what a reshape does to them is unknown."""
        if step.op == "Reshape" and x.line is not None:
            raise Refused("features are reshaped in an unknown way")
        return x

    def _reduce(self, step: Operation) -> Stream:
        x, axes = self._stream(step.inputs[0]), step.attributes.get("axes", ())
        last = sorted(axis for axis in axes if axis < 0)
        known = all(axis >= 2 for axis in axes if axis >= 0) and last == list(range(-len(last), 0))
        if not (x.spatial and axes and known):  # Of (batch, channels, positions) -2 are the channels.
            raise Refused("which axes it reduces is unknown")
        return x if step.attributes.get("keepdims", 1) else x._replace(flat=True)

    def _link(self, source: Line | None, columns: Line) -> None:
        if source is None:
            fix(columns)
        elif length(columns) % length(source):
            raise Refused(f"{length(columns)} inputs do not divide into {length(source)} channels")
        else:
            unify(stretch(source, length(columns) // length(source)), columns)

    def _bias(self, step: Operation, place: int, rows: Line) -> None:
        if len(step.inputs) > place and step.inputs[place]:
            bias = self._tensor(step.inputs[place], "bias")
            unify(bias[-1], rows)

    def _stream(self, name: str) -> Stream:
        if name in self.lines:
            raise Refused("a tensor of numbers stands where a value is expected")
        return self.streams.get(name, Stream(None))

    def _tensor(self, name: str, role: Role) -> list[Line]:
        if name not in self.lines:
            raise Refused("its weights are computed by other operations")
        self.roles.setdefault(name, role)
        return self.lines[name]

    def _fix(self, name: str) -> None:
        for line in self.lines.get(name, []):
            fix(line)
        stream = self.streams.get(name)
        if stream is not None and stream.line is not None:
            fix(stream.line)

    def _describe(self, step: Operation) -> None:
        """Note a layer with weights as a unit, for the family's name."""
        kinds = {"Conv": "conv", "ConvTranspose": "transposed", "Gemm": "linear", "MatMul": "linear"}
        kinds |= dict.fromkeys(_RECURRENT, "recurrent")
        name = step.inputs[1] if len(step.inputs) > 1 else ""
        if step.op not in kinds or name not in self.lines:
            return
        rows, columns = self.lines[name][:2]
        kind = kinds[step.op]
        if kind == "recurrent" and len(step.inputs) > 2 and step.inputs[2] in self.lines:
            rows = self.lines[step.inputs[2]][-1]
        self._say(
            step,
            "layer",
            f"{kind} {length(columns)} → {length(rows)}",
            "certain",
            "an operation of the graph",
        )
        self.units.append(Unit(step.name or name, kind, columns, rows))

    def _say(self, step: Operation, kind: str, value: str, certainty: str, reason: str) -> None:
        name = step.name or (step.inputs[1] if len(step.inputs) > 1 else step.op)
        self.guesses.append(Guess(name, kind, value, certainty, reason))  # pyright: ignore[reportArgumentType]
