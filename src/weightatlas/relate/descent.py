"""What it costs to explain one network as made from another."""

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.relate.pair import Pair
from weightatlas.relate.traces import Traces

_FLOOR = 1e-9  # relative error below which a difference is explained
_GROWTH = 0.05  # weight of growing norms, against the explained difference
_SIMPLE = 0.01  # weight of plain parents: dense, not rounded, in the common order of units
_SPARSER = 0.02


def descent(pair: Pair, traces: tuple[Traces, Traces], odd: tuple[float, float]) -> tuple[float, float]:
    """Price both directions of an arc, in nats.

    `numbers / 2 * log(unexplained / size)`: what a Gaussian code of the difference takes. Zeros of a
    pruned child and errors within a rounded child's step cost nothing. Smaller terms decide between
    equals: training makes networks grow, and parents are rather dense, unrounded and in the order
    most relatives have.

    Args:
        pair: Both networks in one frame.
        traces: Zeros and precision of both.
        odd: Share of the relatives of each that have another order of units.

    Returns:
        Cost of the second as child of the first, and of the first as child of the second.
    """
    first, second = pair.first.double(), pair.second.double()
    sizes = [float(x.square().mean().clamp_min(1e-30)) for x in (first, second)]
    scale = (sizes[0] * sizes[1]) ** 0.5
    grew = float(torch.tensor(sizes[1] / sizes[0]).log())
    found = []
    for parent, child, old, new, strange, growth in (
        (first, second, traces[0], traces[1], odd[0], grew),
        (second, first, traces[1], traces[0], odd[1], -grew),
    ):
        left = unexplained(parent, child, new) / scale
        plain = (old.zeros > new.zeros + _SPARSER) + (old.precision is not None) + strange
        plain += min(old.zeros, 0.5)
        cost = 0.5 * float(torch.tensor(min(left, 1.0) + _FLOOR).log())
        cost += _SIMPLE * plain - _GROWTH * max(min(growth, 0.5), -0.5) + _mask_cost(parent, child, new)
        found.append(cost * len(first))
    return found[0], found[1]


def unexplained(parent: Float[Tensor, " numbers"], child: Float[Tensor, " numbers"], traces: Traces) -> float:
    """Mean square of what pruning and rounding of the child do not explain.

    Args:
        parent: Numbers of the parent.
        child: Those of the child, in the same frame.
        traces: Zeros and precision of the child.
    """
    error = (child - parent).abs()
    if traces.precision in ("float16", "bfloat16"):
        error = (error - parent.abs() * (2.0**-10 if traces.precision == "float16" else 2.0**-7)).clamp_min(0)
    elif traces.precision is not None:
        error = (error - traces.rounding * 12**0.5).clamp_min(0)
    if traces.zeros > _SPARSER:
        error = error * (child != 0)
    return float(error.square().mean())


def _mask_cost(parent: Tensor, child: Tensor, traces: Traces) -> float:
    """Charge for zeros of a child where the parent is suspiciously small: then the child came first.

    Magnitude pruning removes weights up to a threshold, spread over all of that range. Where a sparse
    network was trained further, the weights at its zeros are mere drift, far below the threshold.
    """
    gone = (child == 0) & (parent != 0)
    share = float(gone.double().mean())
    if traces.zeros <= _SPARSER or share <= _SPARSER:
        return 0.0
    threshold = float(torch.quantile(child[child != 0].abs()[:1_000_000], 0.02))
    expected = threshold**2 / 3
    seen = float(parent[gone].square().mean())
    if seen > 0.4 * expected:
        return 0.0
    return 0.5 * share * float(torch.tensor(expected / max(seen, 1e-30)).log())


def halves(pair: Pair, low: int, high: int) -> list[tuple[int, int]]:
    """Tell which of two networks may be an average that holds a part of the other.

    Args:
        pair: Both networks in one frame.
        low: Row of the first.
        high: Row of the second.

    Returns:
        (possible parent, possible average) pairs.
    """
    first, second = pair.first.double(), pair.second.double()
    inner = float(first @ second)
    found = []
    if 0.3 < inner / max(float(first @ first), 1e-30) < 1.1:
        found.append((low, high))
    if 0.3 < inner / max(float(second @ second), 1e-30) < 1.1:
        found.append((high, low))
    return found
