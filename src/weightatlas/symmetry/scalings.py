"""Which hidden units of a network may be scaled or flipped: factors are followed through its graph."""

from dataclasses import dataclass, field
from functools import lru_cache

from weightatlas.weights.spec import NetworkSpec, Node

_KEEPS_ANY = {"flatten", "identity", "dropout", "neg", "interpolate", "upsample"}
_KEEPS_ANY |= {f"{kind}_pool{n}d" for kind in ("avg", "adaptive_avg") for n in (1, 2, 3)}
_KEEPS_POSITIVE = {"relu", "leaky_relu", "prelu"}
_KEEPS_POSITIVE |= {f"{kind}_pool{n}d" for kind in ("max", "adaptive_max") for n in (1, 2, 3)}
_KEEPS_SIGN = {"tanh", "sin", "softsign", "erf", "asin", "atan", "sinh", "tanhshrink"}
_LAYERS = {"linear", "conv1d", "conv2d", "conv3d"}


@dataclass(frozen=True)
class Use:
    """One tensor axis that a scaling touches.

    Args:
        tensor: Index of the tensor.
        axis: Its axis.
        power: 1 where the factor multiplies, -1 where it divides.
    """

    tensor: int
    axis: int
    power: int


@dataclass(frozen=True)
class Scaling:
    """Hidden units that may be multiplied by a factor each without changing the function.

    Args:
        group: The permutation group the units belong to.
        members: How many units.
        scale: Whether positive factors are allowed.
        flip: Whether factors of -1 are allowed.
        uses: The tensor axes that change.
    """

    group: int
    members: int
    scale: bool
    flip: bool
    uses: tuple[Use, ...]


@lru_cache(maxsize=256)
def scalings_of(spec: NetworkSpec) -> tuple[Scaling, ...]:
    """List the scalings of a network in the order of computation.

    Follows each layer's outputs through the graph. ReLU and max pooling let positive factors pass, odd
    functions such as tanh a sign, average pooling and residual sums both; what is unknown lets nothing pass.
    Batch norm stops factors, since its epsilon makes them inexact: fold it first (`fold_norms`).

    Example:
        >>> from weightatlas.weights.trace import trace
        >>> from torch import nn
        >>> spec = trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (3,))
        >>> [(s.members, s.scale, s.flip) for s in scalings_of(spec)]
        [(4, True, False)]

    Args:
        spec: The layout; one without a graph has no known scalings.
    """
    if spec.graph is None:
        return ()
    lines = _Lines(spec)
    for place, node in enumerate(spec.graph):
        lines.follow(place, node)
    return lines.scalings()


def assumed_scalings(spec: NetworkSpec) -> tuple[Scaling, ...]:
    """List the scalings a network would have if all its activations were ReLU: one per permutation group.

    For networks whose graph is unknown. Balancing by them treats two networks alike, whatever they compute.

    Args:
        spec: The layout.
    """
    uses: dict[int, list[Use]] = {group: [] for group in range(len(spec.groups))}
    for index, tensor in enumerate(spec.tensors):
        inputs = 1 if tensor.role == "embedding" else 0
        for axis, segments in enumerate(tensor.axes):
            if len(segments) == 1 and segments[0].group is not None and not tensor.role.startswith("running"):
                uses[segments[0].group].append(Use(index, axis, 1 if axis == inputs else -1))
    return tuple(
        Scaling(group, spec.groups[group], True, False, tuple(own)) for group, own in uses.items() if own
    )


@dataclass
class _Line:
    """Outputs of nodes that share their factors.

    Args:
        scale: Whether positive factors pass.
        flip: Whether signs pass.
        uses: Tensor axes that change along.
        order: Node that starts it.
    """

    scale: bool = True
    flip: bool = True
    uses: list[Use] = field(default_factory=list)
    order: int = 0
    merged: "_Line | None" = None

    def root(self) -> "_Line":
        line = self
        while line.merged is not None:
            line = line.merged
        return line

    def restrict(self, scale: bool, flip: bool) -> None:
        line = self.root()
        line.scale, line.flip = line.scale and scale, line.flip and flip

    def join(self, other: "_Line") -> None:
        first, second = sorted((self.root(), other.root()), key=lambda line: line.order)
        if first is not second:
            second.merged = first
            first.uses += second.uses
            first.restrict(second.scale, second.flip)


class _Lines:
    """Follows factors through the graph of a spec."""

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self.lines: list[_Line] = []
        readers = [tensor for node in spec.graph or () for tensor in node.tensors]
        self.shared = {tensor for tensor in readers if readers.count(tensor) > 1}

    def follow(self, place: int, node: Node) -> None:
        """Give a node's output its line."""
        inputs = [self.lines[source] for source in node.inputs]
        own = _Line(order=place)
        self.lines.append(own)
        numbers = [value for value in node.attributes.values() if isinstance(value, int | float)]
        if node.op in _LAYERS:
            self._layer(node, inputs[0], own)
        elif node.op == "batch_norm" and len(node.tensors) > 2 and self._alone(node):
            inputs[0].restrict(False, False)
            own.uses += [Use(t, 0, 1) for t in node.tensors if self.spec.tensors[t].role.startswith("norm")]
        elif node.op == "add" and len(inputs) == 2 and not numbers:
            own.join(inputs[0])
            own.join(inputs[1])
        elif len(inputs) == 1 and (passes := _passes(node)) is not None:
            own.join(inputs[0])
            own.restrict(*passes)
        else:
            for line in (*inputs, own):
                line.restrict(False, False)

    def _layer(self, node: Node, source: _Line, own: _Line) -> None:
        """A layer multiplies its outputs and undoes the factors of its inputs."""
        own.uses += [Use(tensor, 0, 1) for tensor in node.tensors]
        weights = [t for t in node.tensors if len(self.spec.tensors[t].shape) > 1]  # buffers, too
        if node.attributes.get("groups", 1) != 1 or not self._alone(node):
            source.restrict(False, False)
            own.restrict(False, False)
        source.root().uses += [Use(tensor, 1, -1) for tensor in weights]

    def _alone(self, node: Node) -> bool:
        """Tell whether a layer has tensors that no other reads, and none that other operations make."""
        return len(node.inputs) == 1 and not self.shared & set(node.tensors)

    def scalings(self) -> tuple[Scaling, ...]:
        """Turn lines into scalings; all axes of one must belong to one permutation group."""
        found = []
        roots = [line for line in self.lines if line.merged is None]
        for line in sorted(roots, key=lambda line: line.order):
            groups = {self._group(use) for use in line.uses}
            group = next(iter(groups)) if len(groups) == 1 else None
            if group is not None and (line.scale or line.flip) and any(use.power > 0 for use in line.uses):
                size = self.spec.groups[group]
                found.append(Scaling(group, size, line.scale, line.flip, tuple(line.uses)))
        return tuple(found)

    def _group(self, use: Use) -> int | None:
        """Name the permutation group that moves a whole axis, or none."""
        segments = self.spec.tensors[use.tensor].axes[use.axis]
        return segments[0].group if len(segments) == 1 else None


def _passes(node: Node) -> tuple[bool, bool] | None:
    """Tell whether an operation on one input lets positive factors and signs pass; none if unknown."""
    number = {"mul": {"input", "arguments", "other"}, "div": {"arguments", "other"}}.get(node.op, set())
    if node.op in _KEEPS_ANY or (node.op in ("mul", "div") and set(node.attributes) <= number):
        return True, True
    return (True, False) if node.op in _KEEPS_POSITIVE else (False, True) if node.op in _KEEPS_SIGN else None
