"""What was done on the way from one network to a related one, and in which direction."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from weightatlas.relate.canonical import body_of, head_of
from weightatlas.relate.layouts import LayoutDifference
from weightatlas.relate.pair import Pair
from weightatlas.relate.traces import Traces
from weightatlas.weights.spec import NetworkSpec

Direction = Literal["first to second", "second to first"]

_SPARSER = 0.02  # additional share of zeros that counts as pruning
_HEAD = 0.4  # cosine of heads, relative to that of bodies, below which a head counts as replaced
_EXACT = 2e-4  # relative difference that undoing scales in float32 explains
_SAME = 1e-6  # the same of numbers as they were stored
_MERGED = (0.3, 0.8)  # share of a parent that is left in an average with another network
_EVEN = 0.1  # largest deviation of this share over layers: training moves layers unequally far
_WHOLE = 0.75  # share of an average, at least, that is in its parent
_APART = 0.87  # squared cosine above which a difference is too small to be a merge with a stranger
_ORDER = ("permuted", "rescaled", "fine-tuned", "merged", "head replaced", "other layout")
_ORDER += ("pruned", "quantized")
_COARSE = {"float16": 11.0, "bfloat16": 8.0}


@dataclass(frozen=True)
class Changes:
    """What two related networks differ by.

    Args:
        names: Operations, in a fixed order.
        direction: Which network came first, where one of the operations tells.
        why: What tells it.
        facts: Numbers behind the names.
    """

    names: tuple[str, ...]
    direction: Direction | None
    why: str
    facts: dict[str, float | str | None]


def changes_of(pair: Pair, traces: tuple[Traces, Traces], layouts: LayoutDifference | None = None) -> Changes:
    """Name the operations between two related networks.

    Pruning leaves zeros and rounding leaves levels in one of them, which is then the child. Numbers that
    these do not explain are a merge if one network is a half of the other, else fine-tuning. A shared
    ancestor gives the same picture as fine-tuning. Two networks that lack weights of each other, or differ by
    less than the step both are rounded to, were both pruned or rounded: neither is the child.

    Args:
        pair: Both networks in one frame.
        traces: Zeros and precision of the first and the second as they were stored.
        layouts: In what their layouts differ.
    """
    first, second = traces
    votes: dict[str, Direction] = {}
    names = [name for name, so in (("permuted", pair.permuted), ("rescaled", pair.rescaled)) if so]
    head = _head_cosine(pair)
    replaced = head is not None and head < _HEAD * _cosine(pair, _body(pair))
    where = torch.ones(len(pair.first), dtype=torch.bool)
    where[head_of(pair.spec) if replaced else []] = False
    sparser = _sparser(pair, traces)
    soft, way, share = _soft(pair, sparser, traces, where)
    names += [soft] if soft else []
    names += ["head replaced"] if replaced else []
    names += [layouts.name] if layouts is not None and layouts.name else []
    names += ["pruned"] if any(sparser) else []
    names += ["quantized"] if first.precision != second.precision else []
    if way is not None:
        votes["an average holds a part of its parent"] = way
    if sparser[0] != sparser[1]:
        votes["one has more zeros"] = _way(sparser[1])
    if _bits(first) != _bits(second):
        votes["one has a coarser grid of levels"] = _way(_bits(second) < _bits(first))
    ways = set(votes.values())
    facts: dict[str, float | str | None] = {
        "zeros": f"{first.zeros:.3f}, {second.zeros:.3f}",
        "precision": f"{first.precision or 'full'}, {second.precision or 'full'}",
        "share of the first in the second": share[0],
        "share of the second in the first": share[1],
        "cosine of heads": head,
    }
    if layouts is not None:
        facts["layouts differ in"] = layouts.text
    way = next(iter(ways)) if len(ways) == 1 else None
    ordered = tuple(name for name in _ORDER if name in names)
    return Changes(ordered, way, " and ".join(votes) if way else "", facts)


def _soft(
    pair: Pair, sparser: tuple[bool, bool], traces: tuple[Traces, Traces], where: Tensor
) -> tuple[str | None, Direction | None, tuple[float, float]]:
    """Explain what pruning and rounding leave over: nothing, a merge, or fine-tuning."""
    first, second = pair.first.double(), pair.second.double()
    kept = where.clone()
    if any(sparser):
        kept &= (first != 0) & (second != 0)
    blocks = [kept[start:stop].nonzero().flatten() + start for start, stop in _ranges(pair.spec)]
    scale = float(first[kept].square().mean().sqrt()) if kept.any() else 0.0
    left = float((second - first)[kept].square().mean().sqrt()) if kept.any() else 0.0
    exact = (_EXACT if pair.rescaled or pair.folded else _SAME) * scale
    allowed = 1.5 * (traces[0].rounding + traces[1].rounding) + exact
    shares = torch.tensor([_shares(first[block], second[block]) for block in blocks if len(block) > 8])
    total = _shares(first[kept], second[kept])
    if left <= allowed:
        rounded = left > exact and traces[0].precision == traces[1].precision
        return ("quantized" if rounded else None), None, total
    spread = shares.std(dim=0, correction=0).tolist() if len(shares) else [0.0, 0.0]
    possible = [
        side
        for side in (0, 1)
        if _MERGED[0] < total[side] < _MERGED[1] and spread[side] <= _EVEN and total[1 - side] >= _WHOLE
    ]
    if possible and total[0] * total[1] < _APART:
        return "merged", _way(min(possible, key=lambda side: spread[side]) == 0), total
    return "fine-tuned", None, total


def _shares(first: Tensor, second: Tensor) -> tuple[float, float]:
    """How much of each network is in the other: regression coefficients of one on the other."""
    inner = float(first @ second)
    return inner / max(float(first @ first), 1e-30), inner / max(float(second @ second), 1e-30)


def _ranges(spec: NetworkSpec) -> list[tuple[int, int]]:
    """Where the weight tensors lie."""
    pairs = zip(spec.tensors, spec.offsets, strict=True)
    return [(start, start + tensor.size) for tensor, start in pairs if tensor.role == "weight"]


def _sparser(pair: Pair, traces: tuple[Traces, Traces]) -> tuple[bool, bool]:
    """Tell which network has zeros where the other's weight is larger than rounding explains."""
    mask = _weights(pair.spec)
    first, second = pair.first[mask].double().abs(), pair.second[mask].double().abs()
    tiny = 1e-6 * float(first.square().mean().sqrt())
    limits = [max(tiny, traces[side].rounding * 12**0.5) for side in (0, 1)]
    lost = ((first == 0) & (second > limits[0])), ((second == 0) & (first > limits[1]))
    return float(lost[0].double().mean()) > _SPARSER, float(lost[1].double().mean()) > _SPARSER


def _body(pair: Pair) -> Tensor:
    """Places of everything but the head."""
    return body_of(pair.spec)[1] if pair.heads else torch.arange(len(pair.first))


def _head_cosine(pair: Pair) -> float | None:
    """Cosine of the heads' weights, or none without heads of equal shape."""
    if not pair.heads:
        return None
    head = head_of(pair.spec)
    return _cosine(pair, head) if bool(_weights(pair.spec)[head].any()) else None


def _weights(spec: NetworkSpec) -> Tensor:
    """Mask of the numbers of weight tensors."""
    return torch.cat([torch.full((tensor.size,), tensor.role == "weight") for tensor in spec.tensors])


def _cosine(pair: Pair, where: Tensor) -> float:
    """Cosine of the two networks over some places, weights only."""
    where = where[_weights(pair.spec)[where]] if pair.heads else where
    return float(torch.cosine_similarity(pair.first[where].double(), pair.second[where].double(), dim=0))


def _bits(traces: Traces) -> float:
    """Bits of a number, as far as its precision tells."""
    if traces.precision is None:
        return 24.0
    known = _COARSE.get(traces.precision)
    return known if known is not None else float(traces.precision.split()[0].removeprefix("int"))


def _way(forward: bool) -> Direction:
    return "first to second" if forward else "second to first"
