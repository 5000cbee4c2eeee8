"""Bare state dict -> spec: layers, boundaries and permutation groups from names and shapes alone."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from weightatlas.errors import SpecError
from weightatlas.weights.axes import Line, Symbol, axis_of, fix, resolve, unify
from weightatlas.weights.files.checkpoint import Operation
from weightatlas.weights.infer_layers import Guess, Reader, Unit
from weightatlas.weights.infer_names import canonical_order, tree_of
from weightatlas.weights.infer_parameters import usual_names
from weightatlas.weights.infer_units import Builder
from weightatlas.weights.infer_wiring import Wirer
from weightatlas.weights.spec import NetworkSpec, Role, TensorSpec


@dataclass(frozen=True)
class Inferred:
    """A spec, and what was concluded on the way to it.

    Args:
        spec: Tensors in canonical order. It has no graph, so such networks cannot be run. Only axes
            of certain groups may be permuted.
        guesses: Every conclusion with its certainty and reason.
        units: Parts of the network in order: (kind, width in, width out, weight layers).
    """

    spec: NetworkSpec
    guesses: tuple[Guess, ...]
    units: tuple[tuple[str, int, int, int], ...] = ()

    def explain(self, *words: str) -> str:
        """Write the conclusions a line each, only those of some certainties or kinds if any are named."""
        chosen = [g for g in self.guesses if not words or {g.certainty, g.kind} & set(words)]
        return "\n".join(map(str, chosen))


def infer(
    source: "Mapping[str, Tensor] | Mapping[str, tuple[int, ...]] | nn.Module",
    input_shape: tuple[int, ...] | None = None,
    graph: Sequence[Operation] = (),
    channels_last: bool = False,
) -> Inferred:
    """Describe a network of which only names and shapes are known.

    Every conclusion is labelled certain, likely or unknown. Only certain ones let axes be permuted:
    what two wirings could explain is fixed, or tied so coarsely that it is right for both. The order of
    tensors depends on their names alone, not on the file, and follows PyTorch's `state_dict` where
    names tell. "Certain" assumes that modules without tensors treat channels alike (activations, pooling,
    dropout, flatten, softmax); a local response norm, a channel shuffle, a transpose in front of a flatten,
    or a group norm without scale between two layers of one Sequential cannot be seen. Sums without tensors
    are thought of where they add equal widths, and where they slice or pad across two layers or inside a list
    of layers; not seen are padded sums around one layer with a name of its own or with the input or output
    of the network, and any sums in a list that holds activations between its layers, as a Sequential does.
    A module is traced instead, and the graph of an ONNX file is followed.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
        >>> found = infer(network.state_dict())
        >>> found.spec.groups, found.spec.tensors[2].axes[1][0].positions
        ((4,), 36)
        >>> print(found.explain("boundary"))
        0 → 3: flatten of 4 channels × 36 positions (boundary, certain): 3 reads 144 = 4 × 36 numbers

    Args:
        source: A state dict, the shapes of one, or a module.
        input_shape: Shape of one input, needed with a module only.
        graph: Operations of an ONNX file (`StoredNetwork.graph`); other graphs are ignored.
        channels_last: Whether flattens put positions before channels (`StoredNetwork.channels_last`).

    Raises:
        SpecError: There are no floating tensors, or a module comes without its input shape.
    """
    if isinstance(source, nn.Module):
        return _traced(source, input_shape)
    shapes, aliases = _shapes(source)
    if not shapes:
        raise SpecError("There are no floating tensors to describe.", todo="Pass a network's state dict.")
    if graph and graph[-1].op == "Output":
        return _followed(shapes, graph)
    names = usual_names(shapes)
    shapes = {names[name]: shape for name, shape in shapes.items()}
    aliases = {names[name]: [names[other] for other in others] for name, others in aliases.items()}
    root = tree_of(shapes)
    reader = Reader(root, channels_last)
    units = Builder(root, reader).units(root)
    order = canonical_order(tree_of(shapes))
    Wirer(units, reader).wire()
    spec = _renamed(_spec(order, reader.lines, reader.roles, aliases, {}), names)
    guesses = tuple(dict.fromkeys(reader.guesses))
    return Inferred(spec, guesses, tuple(_summary(unit) for unit in units))


def _renamed(spec: NetworkSpec, names: Mapping[str, str]) -> NetworkSpec:
    """Give tensors back the names they have in the file."""
    own = {usual: name for name, usual in names.items()}
    if all(usual == name for usual, name in own.items()):
        return spec
    tensors = [
        tensor.replace(name=own[tensor.name], aliases=tuple(own[alias] for alias in tensor.aliases))
        for tensor in spec.tensors
    ]
    return spec.replace(tensors=tuple(tensors))


def _followed(shapes: Mapping[str, tuple[int, ...]], graph: Sequence[Operation]) -> Inferred:
    """Follow the operations of a graph; tensors come in the order in which they are used."""
    from weightatlas.weights.infer_graph import GraphReader

    reader = GraphReader(shapes, graph)
    reader.read()
    order = [name for name, _ in reader.order]
    left = [name for name in shapes if name not in order]
    spec = _spec([*order, *left], reader.lines, reader.roles, {}, dict(reader.order))
    return Inferred(spec, tuple(dict.fromkeys(reader.guesses)), tuple(map(_summary, reader.units)))


def _traced(network: nn.Module, input_shape: tuple[int, ...] | None) -> Inferred:
    from weightatlas.weights.trace import trace

    if input_shape is None:
        raise SpecError(
            f"{type(network).__name__} is traced by running it, which needs input_shape.",
            todo="Pass the shape of one input, for example (3, 32, 32), or its state_dict().",
        )
    spec = trace(network, input_shape)
    found = infer(network.state_dict())
    reason = "one rule per operation; spec_of also checks them by running permuted networks"
    guess = Guess(type(network).__name__, "layer", "traced", "likely", reason)
    return Inferred(spec, (guess,), found.units)


def _shapes(source: "Mapping[str, Tensor] | Mapping[str, tuple[int, ...]]") -> tuple[dict, dict]:
    """Collect shapes of floating tensors; names of one storage become aliases of the first."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, value in source.items():
        if not isinstance(value, Tensor):
            shapes[name] = tuple(value)
        elif value.is_floating_point():
            shapes[name] = tuple(value.shape)
    first: dict[tuple, str] = {}
    aliases: dict[str, list[str]] = {}
    for name in canonical_order(tree_of(shapes)):
        value = source[name]
        if not isinstance(value, Tensor) or value.numel() < 2:
            continue
        place = (value.data_ptr(), value.dtype, tuple(value.shape), value.stride())
        original = first.setdefault(place, name)
        if original != name:
            aliases.setdefault(original, []).append(name)
    return shapes, aliases


def _spec(
    order: list[str],
    lines: Mapping[str, list[Line]],
    roles: Mapping[str, Role],
    aliases: Mapping[str, list[str]],
    places: Mapping[str, int],
) -> NetworkSpec:
    """Number the groups in order of appearance and write the spec.

    Args:
        order: Names in canonical order.
        lines: Axes of each tensor.
        roles: What each does; the axes of those without a role are fixed.
        aliases: Further names of one storage.
        places: Operation that uses a tensor, if known; else layers are told by names.
    """
    same = {alias: name for name, others in aliases.items() for alias in others}
    for alias, name in same.items():
        for own, other in zip(lines[alias], lines[name], strict=True):
            unify(own, other)
    kept = [name for name in order if name not in same]
    for line in (line for name in kept if name not in roles for line in lines[name]):
        fix(line)
    groups: dict[Symbol, int] = {}
    runs = [run for name in kept for line in lines[name] for run in resolve(line)]
    uses = Counter(run.symbol for run in runs)
    for run in runs:
        if not run.symbol.fixed and uses[run.symbol] > 1:  # What only one tensor has is no symmetry.
            groups.setdefault(run.symbol, len(groups))
    layers: dict[object, int] = {}
    tensors = []
    for name in kept:
        owner, _, local = name.rpartition(".")
        stem = re.sub(r"weight|bias|running_mean|running_var|gamma|beta", "", local)
        role = roles.get(name, "other")
        axes = tuple(axis_of(line, groups) for line in lines[name])
        tensors.append(
            TensorSpec(
                name=name,
                shape=tuple(sum(segment.size for segment in axis) for axis in axes),
                role=role,
                axes=axes,
                layer=layers.setdefault(places.get(name, (owner, stem)), len(layers)),
                trainable=role not in ("running_mean", "running_var"),
                aliases=tuple(aliases.get(name, ())),
            )
        )
    return NetworkSpec(tensors=tuple(tensors), groups=tuple(symbol.members for symbol in groups))


def _summary(unit: Unit) -> tuple[str, int, int, int]:
    return unit.kind, unit.width_in, unit.width_out, unit.layers
