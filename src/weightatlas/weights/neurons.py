"""Neurons of a spec: which two each number links, and what is known of a neuron without its number."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.weights.spec import Axis, NetworkSpec, Segment, TensorSpec

FACTS = 6  # numbers that describe a neuron
_SHIFTS = ("bias", "norm_shift", "running_mean")


@dataclass(frozen=True, eq=False, slots=True)
class Neurons:
    """The two neurons of every number of a spec.

    Args:
        row: Neuron whose output a number helps to compute; `count` where there is none.
        column: Neuron it reads from; `count` for biases and other vectors.
        kind: 0 weight, 1 shift (bias and the like), 2 scale and everything else.
        count: Neurons.
    """

    row: Int[Tensor, " params"]
    column: Int[Tensor, " params"]
    kind: Int[Tensor, " params"]
    count: int


@lru_cache(maxsize=64)
def neurons_of(spec: NetworkSpec) -> Neurons:
    """Number the neurons of a spec, once.

    Members of a permutation group are one neuron wherever they appear; so are outputs of a layer. Inputs
    belong to the matrix that reads them. Kernel taps and flattened positions belong to their channel.

    Example:
        >>> from weightatlas.weights.trace import trace
        >>> spec = trace(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)), (3,))
        >>> neurons_of(spec).count
        9
    """
    numbers: dict[tuple[object, ...], int] = {}
    turned = _transposed(spec)
    rows, columns, kinds = [], [], []
    for place, tensor in enumerate(spec.tensors):
        matrix = len(tensor.shape) > 1 and tensor.role in ("weight", "embedding")
        none = torch.full((tensor.size,), -1)
        row = _rows(tensor, turned.get(place), numbers) if tensor.axes else none
        source = 0 if place in turned else 1
        column = (
            _grid(tensor, source, _members(tensor.axes[source], ("in", place), numbers)) if matrix else none
        )
        rows.append(row)
        columns.append(column)
        kinds.append(torch.full((tensor.size,), 0 if matrix else 1 if tensor.role in _SHIFTS else 2))
    count = len(numbers)
    row, column = (torch.where(part < 0, count, part) for part in (torch.cat(rows), torch.cat(columns)))
    return Neurons(row, column, torch.cat(kinds), count)


def neuron_facts(
    values: Float[Tensor, "networks params"], spec: NetworkSpec
) -> Float[Tensor, "networks more facts"]:
    """Describe every neuron: mean and root mean square of what it reads and of what reads it, shift, scale.

    Permuting neurons permutes these rows and changes nothing else, so they can stand where a neuron's
    number may not.

    Args:
        values: Networks as rows, best on one scale.
        spec: Their layout.

    Returns:
        Shape `(networks, neurons + 1, 6)`; the last row is zero, for numbers without a column.
    """
    neurons = neurons_of(spec)
    row, column, kind = (part.to(values.device) for part in (neurons.row, neurons.column, neurons.kind))
    weight, shift, scale = (torch.nonzero(kind == number).squeeze(1) for number in range(3))
    size = neurons.count + 1
    found = [
        *_moments(values[:, weight], row[weight], size),
        *_moments(values[:, weight], column[weight], size),
        _moments(values[:, shift], row[shift], size)[0],
        _moments(values[:, scale], row[scale], size)[0],
    ]
    facts = torch.stack(found, dim=2)
    facts[:, -1] = 0
    return facts


def _moments(values: Tensor, neuron: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Mean and root mean square of the numbers of each neuron; 0 where it has none."""
    zero = values.new_zeros(len(values), size)
    count = values.new_zeros(size).index_add_(0, neuron, values.new_ones(len(neuron))).clamp(min=1)
    mean = zero.index_add(1, neuron, values) / count
    return mean, (zero.index_add(1, neuron, values.square()) / count).sqrt()


def _transposed(spec: NetworkSpec) -> dict[int, int]:
    """Weights that only transposed convolutions read, as (in, out / groups, ...), and their groups."""
    found: dict[int, int] = {}
    others: set[int] = set()
    for node in spec.graph or ():
        weights = [place for place in node.tensors if spec.tensors[place].role == "weight"]
        if node.op.startswith("conv_transpose"):
            found |= dict.fromkeys(weights, int(node.attributes.get("groups", 1)))
        else:
            others.update(weights)
    return {place: groups for place, groups in found.items() if place not in others}


def _rows(tensor: TensorSpec, groups: int | None, numbers: dict[tuple[object, ...], int]) -> Tensor:
    """Number the outputs that a tensor helps to compute; `groups` are those of a transposed convolution."""
    key = ("out", tensor.layer)
    # Where channels of a group move, its outputs are positions of one member, as in its bias.
    if groups is None or (groups > 1 and any(segment.group is not None for segment in tensor.axes[0])):
        first = _row_axis(tensor)
        return _grid(tensor, first, _members(tensor.axes[first], key, numbers))
    if groups == 1:
        return _grid(tensor, 1, _members(tensor.axes[1], key, numbers))
    count, width = tensor.shape[:2]
    outputs = _members((Segment(members=groups * width),), key, numbers).view(groups, 1, width)
    each = outputs.expand(groups, count // groups, width).reshape(count, width, 1)
    return each.expand(count, width, tensor.size // (count * width)).reshape(-1)


def _row_axis(tensor: TensorSpec) -> int:
    """The axis of outputs: the first, or the last where leading ones only count positions."""
    known = [place for place, axis in enumerate(tensor.axes) if any(s.group is not None for s in axis)]
    return 0 if tensor.role == "weight" or not known else known[-1]


def _members(axis: Axis, fixed: tuple[object, ...], numbers: dict[tuple[object, ...], int]) -> Tensor:
    """Number the members of an axis, entry by entry."""
    found, start = [], 0
    for segment in axis:
        keys = [
            ("group", segment.group, member) if segment.group is not None else (*fixed, start + member)
            for member in range(segment.members)
        ]
        known = torch.tensor([numbers.setdefault(key, len(numbers)) for key in keys], dtype=torch.int64)
        found.append(known.repeat_interleave(segment.positions))
        start += segment.members
    return torch.cat(found)


def _grid(tensor: TensorSpec, axis: int, entries: Tensor) -> Tensor:
    """Spread the numbers of one axis over a whole tensor, flat."""
    shape = [1] * len(tensor.shape)
    shape[axis] = -1
    return entries.view(shape).expand(tensor.shape).reshape(-1)
