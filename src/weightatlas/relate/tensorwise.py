"""Kinship tensor by tensor in the stored order, where it is not certain which units may be renumbered."""

from dataclasses import dataclass
from functools import lru_cache
from math import lcm

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightatlas.weights.spec import NetworkSpec

_FEWEST = 8  # members an axis must have before their order can tell anything
_MEMBERS, _READ = 256, 1024  # members and numbers of each that are looked at; more tell nothing new
_CAUTION = 2.0  # heads, gates and residual streams tie units together: sums vary more than the law says
_WHOLE = 0.5  # share of weights that are equal to the bit, from which no test is needed
_ORDERED = 3.5  # standardized likeness of neighbours from which the order of an axis has a meaning
_SMOOTH = 0.2  # how much more alike neighbours are in tables
_ORDERLY = 4  # members an order needs
_FLAT = 1e-6  # variance of cosines below which members cannot be told apart
_CHUNK = 20_000_000  # numbers worked on at once


@dataclass(frozen=True)
class TensorEvidence:
    """What weight tensors say about the kinship of a reference with each of several networks.

    Args:
        p_value: How likely strangers are this alike.
        score: Mean cosine of members in equal places less that of all pairs: 0 for strangers, 1 for copies.
        equal: Share of the weights' numbers that lie in tensors equal to the bit.
        tested: How many tensors could be tested.
    """

    p_value: Float[Tensor, " networks"]
    score: Float[Tensor, " networks"]
    equal: Float[Tensor, " networks"]
    tested: int


def tensor_evidence(
    values: Float[Tensor, "networks params"], reference: Float[Tensor, " params"], spec: NetworkSpec
) -> TensorEvidence:
    """Test whether equal places of weight tensors hold equal members, without knowing symmetries.

    One of the two axes of nearly every weight tensor runs over hidden units, whose numbering means nothing
    between strangers: the sum of cosines of members in equal places is then distributed as under a
    renumbering. Which axis that is need not be known: both are tested, and the weaker result counts. A
    tensor counts if one of its sizes shows that it is joined to another one, unless neighbours are alike on
    both axes (time steps, positions). What units read of themselves is left out: self-connections stand in
    the same places of all networks. Members are exchanged only within gates and within queries, keys and
    values. Tensors are joined as a sum and by the best of them, with scores halved: what ties tensors and
    members together (residual streams, attention heads) makes sums vary more than the law says. Tensors
    equal to the bit say nothing by themselves, unless tensors that count are at least half of all weights:
    tables of sines, Fourier filters and zeros are alike everywhere.

    Example:
        >>> from weightatlas.weights.infer import infer
        >>> base = {"a.weight": torch.randn(32, 16), "b.weight": torch.randn(4, 32)}
        >>> spec = infer(base).spec
        >>> row = torch.cat([tensor.flatten() for tensor in base.values()])
        >>> other = torch.stack([row + 0.1 * torch.randn(len(row)), torch.randn(len(row))])
        >>> (tensor_evidence(other, row, spec).p_value < 1e-4).tolist()
        [True, False]

    Args:
        values: Networks as rows.
        reference: One network.
        spec: Their layout; its permutation groups are not used.
    """
    step = max(1, _CHUNK // max(spec.params, _MEMBERS**2))
    found = [_evidence(values[i : i + step], reference, spec) for i in range(0, len(values), step)]
    if not found:
        none = values.new_zeros(0, dtype=torch.float64)
        return TensorEvidence(none, none, none, len(_tested(spec)))
    p, score, equal = (torch.cat(column) for column in zip(*found, strict=True))
    return TensorEvidence(p, score, equal, len(_tested(spec)))


def _evidence(values: Tensor, reference: Tensor, spec: NetworkSpec) -> tuple[Tensor, Tensor, Tensor]:
    """P-values, scores and equal shares of a few networks."""
    scores, cosines, equal = [], [], []
    weights, copied = _weights(spec), torch.zeros(len(values), dtype=torch.float64)
    total = sum(spec.tensors[index].size for index in weights)
    for index in weights:
        shape, start = spec.tensors[index].shape, spec.offsets[index]
        own = reference[start : start + spec.tensors[index].size]
        block = values[:, start : start + spec.tensors[index].size]
        equal.append((block == own).all(dim=1))
        blocks = _blocks(shape[0], spec), _blocks(shape[1], spec)
        first, second = (
            _without_self(x.view(len(x), *shape[:2], -1), shape[0] // blocks[0]) for x in (own[None], block)
        )
        z, excess = _likeness(first.flatten(2), second.flatten(2), blocks[0])
        cosines.append(torch.where(equal[-1], 1.0, excess))
        if index in _tested(spec):
            turned = first.transpose(1, 2).flatten(2), second.transpose(1, 2).flatten(2)
            both = torch.minimum(z, _likeness(*turned, blocks[1])[0])
            hidden = _hidden(first, blocks) & _hidden(second, blocks)
            scores.append(torch.where(equal[-1] | ~hidden, 0.0, both))
            table = smooth(first.flatten(2), blocks[0]) | smooth(turned[0], blocks[1])
            copied += (equal[-1] & hidden & ~table) * (spec.tensors[index].size / total)
    if not weights:
        return copied + 1, copied, copied
    share = torch.tensor([spec.tensors[index].size / total for index in weights], dtype=torch.float64)
    same = torch.stack(equal, 1).double() @ share
    p = _joined(torch.stack(scores, 1)) if scores else torch.ones(len(values), dtype=torch.float64)
    return torch.where(copied >= _WHOLE, 0.0, p), torch.stack(cosines, 1).double() @ share, same


def _joined(z: Float[Tensor, "networks tensors"]) -> Float[Tensor, " networks"]:
    """Turn scores of several tensors into one p-value: twice the smaller of sum and corrected maximum."""
    best = _tail(z.amax(dim=1)) * z.shape[1]
    return (2 * torch.minimum(best, _tail(z.sum(dim=1) / z.shape[1] ** 0.5))).clamp_max(1.0)


def _tail(z: Tensor) -> Tensor:
    """Probability of a larger score, all scores being halved."""
    return torch.special.log_ndtr(-z.double() / _CAUTION).exp()


def _likeness(
    first: Float[Tensor, "1 members read"], second: Float[Tensor, "networks members read"], blocks: int
) -> tuple[Float[Tensor, " networks"], Float[Tensor, " networks"]]:
    """Standardized sum of cosines of members in equal places, and its mean excess, within blocks of members.

    Mean and variance under all renumberings are known exactly (Hoeffding, 1951).
    """
    matrix = _units(first, blocks) @ _units(second, blocks).transpose(2, 3)
    rows, columns = matrix.mean(dim=3, keepdim=True), matrix.mean(dim=2, keepdim=True)
    centered = matrix - rows - columns + matrix.mean(dim=(2, 3), keepdim=True)
    excess = centered.diagonal(dim1=2, dim2=3).mean(dim=(1, 2))
    variance = centered.square().sum(dim=(1, 2, 3)) / max(matrix.shape[2] - 1, 1)
    total = centered.diagonal(dim1=2, dim2=3).sum(dim=(1, 2))
    return total / variance.clamp_min(1e-20).sqrt(), excess


def _units(
    block: Float[Tensor, "networks members read"], blocks: int
) -> Float[Tensor, "networks blocks few some"]:
    """Scale some members of every block of them to norm one."""
    few, stride = max(_MEMBERS // blocks, 1), max(block.shape[2] // _READ, 1)
    some = block.unflatten(1, (blocks, -1))[:, :, :few, ::stride]
    return torch.nn.functional.normalize(some.double(), dim=3)


def _without_self(
    block: Float[Tensor, "networks members read rest"], size: int
) -> Float[Tensor, "networks members read rest"]:
    """Put the mean of what a unit reads in the place of what it reads of itself.

    Recurrent and residual layers read what they write, alone or before or behind other inputs. An identity,
    or units that keep what they hold, would be kinship of all networks.
    """
    shifts = sorted({0, block.shape[2] - size})
    if size < 2 or shifts[0] < 0 or len(shifts) >= block.shape[2]:
        return block
    result, members = block.clone(), torch.arange(block.shape[1])
    for value in (torch.zeros(()), None):
        mean = result.sum(dim=2) / (block.shape[2] - len(shifts)) if value is None else value
        for shift in shifts:
            result[:, members, members % size + shift] = mean
    return result


def _hidden(
    block: Float[Tensor, "networks made read rest"], blocks: tuple[int, int]
) -> Bool[Tensor, " networks"]:
    """Tell whether one of both axes can run over hidden units."""
    turned = block.transpose(1, 2)
    return _nameless(block.flatten(2), blocks[0]) | _nameless(turned.flatten(2), blocks[1])


def _nameless(block: Float[Tensor, "networks members read"], blocks: int) -> Bool[Tensor, " networks"]:
    """Tell whether members differ but stand in no order, as hidden units do."""
    matrix, mean, spread = _self_likeness(block, blocks)
    size = matrix.shape[2]
    found = (spread.mean(dim=1) > _FLAT) | (size < _ORDERLY)
    for lag in (1, 2) if size >= _ORDERLY else ():
        near = (matrix.diagonal(lag, 2, 3) - mean).sum(dim=(1, 2))
        found &= near <= _ORDERED * (spread.sum(dim=1) * (size - lag)).sqrt()
    return found


def smooth(block: Float[Tensor, "networks members read"], blocks: int = 1) -> Bool[Tensor, " networks"]:
    """Tell whether neighbours are far more alike than other members, as in tables of sines.

    Training on inputs that have an order makes neighbours a little more alike, not that much.

    Args:
        block: What every member reads.
        blocks: Runs of members that differ in kind.
    """
    matrix, mean, _ = _self_likeness(block, blocks)
    lags = (1, 2) if matrix.shape[2] >= _ORDERLY else ()
    near = [(matrix.diagonal(lag, 2, 3) - mean).mean(dim=(1, 2)) > _SMOOTH for lag in lags]
    return torch.stack([torch.zeros(len(block), dtype=torch.bool), *near]).any(dim=0)


def _self_likeness(block: Tensor, blocks: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines of all pairs of members, and mean and variance of those of different ones."""
    units = _units(block, blocks)
    matrix = units @ units.transpose(2, 3)
    others = matrix[..., ~torch.eye(matrix.shape[2], dtype=torch.bool)]
    return matrix, others.mean(dim=2, keepdim=True), others.var(dim=2, correction=0)


@lru_cache(maxsize=256)
def _weights(spec: NetworkSpec) -> tuple[int, ...]:
    """Tensors that layers multiply by."""
    return tuple(
        index
        for index, tensor in enumerate(spec.tensors)
        if tensor.role in ("weight", "embedding") and len(tensor.shape) >= 2 and tensor.size
    )


@lru_cache(maxsize=256)
def _tested(spec: NetworkSpec) -> frozenset[int]:
    """Weights with enough members on both axes, one of which another weight's size shows to be hidden."""
    shapes = {index: spec.tensors[index].shape for index in _weights(spec)}
    made = {index: shape[0] // _blocks(shape[0], spec) for index, shape in shapes.items()}
    found = set()
    for index, shape in shapes.items():
        gated = made[index] < shape[0]  # recurrent layers read what they make themselves
        others = [i for i in shapes if i != index or gated]
        read = any(_joined_to(index, other, shapes, made) for other in others)
        reads = any(_joined_to(other, index, shapes, made) for other in others)
        if min(shape[:2]) >= _FEWEST and (read or reads):
            found.add(index)
    return frozenset(found)


def _joined_to(writer: int, reader: int, shapes: dict[int, tuple[int, ...]], made: dict[int, int]) -> bool:
    """Tell whether sizes say that one weight reads what another makes.

    What kernels make may be read at several positions, what gates make from several directions.
    """
    several = len(shapes[writer]) > 2 or made[writer] < shapes[writer][0]
    ways, rest = divmod(shapes[reader][1], made[writer])
    return made[writer] > 1 and rest == 0 and ways >= 1 and (several or ways == 1)


@lru_cache(maxsize=4096)
def _blocks(members: int, spec: NetworkSpec) -> int:
    """Runs of an axis whose members differ in kind: gates of recurrent layers, queries, keys and values."""
    sizes = {spec.tensors[index].shape[:2] for index in _weights(spec)}
    pairs = {(max(shape), min(shape)) for shape in sizes}
    kinds = [count for count in (3, 4) if members % count == 0 and (members, members // count) in pairs]
    return lcm(*kinds) if kinds and members // lcm(*kinds) > 1 else 1
