"""What it costs to explain one network as made from another."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.relate.pair import Pair
from weightatlas.relate.traces import Traces

CHANGED = 100.0  # nats per number that changed: what changed does not come back
_TEMPER = (
    0.02  # share of the code of sizes that counts: drifts of relatives are alike, which it does not know
)
_STEP = 20.0  # nats per kind of step: training, pruning, rounding, renumbering
_PLAIN = 3.0  # nats for parents that are sparse or rounded
_GROWTH = 3.0  # nats per doubling or so of the size, in training
_SPARSER = 0.02
_EXACT = 1e-7  # relative difference of equal numbers, in float32
_SCALED = 1e-6  # the same where scales had to be undone


@dataclass(frozen=True)
class Descent:
    """One network as child of another.

    Args:
        cost: In nats.
        changed: Numbers of the child that differ from the parent's, and not by pruning or rounding.
    """

    cost: float
    changed: int


def descents(pair: Pair, traces: tuple[Traces, Traces]) -> tuple[Descent, Descent]:
    """Price both directions of an arc, in nats.

    Training leaves many numbers exactly as they were: weights of inputs that are always zero, of units
    that never fire, of frozen layers. A number that changed never comes back. So the numbers that differ are
    counted first, as characters are in a tree of species; zeros of a pruned child and errors within a rounded
    child's step do not count. How far the others moved says less: networks trained from one parent on
    the same data move alike, and are nearer to each other than to it. Smaller terms decide between equals:
    few steps, plain parents, networks that grow in training.

    Args:
        pair: Both networks in one frame.
        traces: Zeros and precision of both.

    Returns:
        The second as child of the first, and the first as child of the second.
    """
    first, second = pair.first.double(), pair.second.double()
    sizes = [float(x.square().mean().clamp_min(1e-30)) for x in (first, second)]
    grew = float(torch.tensor(sizes[1] / sizes[0]).log().clamp(-0.5, 0.5))
    same = torch.equal(first, second)
    found = []
    for parent, child, old, new, growth in (
        (first, second, traces[0], traces[1], grew),
        (second, first, traces[1], traces[0], -grew),
    ):
        error = unexplained(parent, child, new)
        limit = (_SCALED if pair.rescaled else _EXACT) * (parent.abs() + child.abs()) / 2
        moved = error[error > limit]
        made = 0 if same else (new.zeros > _SPARSER) + (new.precision is not None)
        steps = made + (len(moved) > 0) + pair.permuted
        size = float(moved.square().mean()) / (sizes[0] * sizes[1]) ** 0.5 if len(moved) else 1.0
        code = 0.5 * len(moved) * float(torch.tensor(min(max(size, 1e-12), 4.0)).log())
        code += len(first) * _mask_cost(parent, child, new)
        plain = (old.zeros > new.zeros + _SPARSER) + (old.precision is not None) + min(old.zeros, 0.5)
        cost = CHANGED * len(moved) + _TEMPER * code + _STEP * steps + _PLAIN * plain
        found.append(Descent(cost - (0.0 if made else _GROWTH * growth), len(moved)))
    return found[0], found[1]


def unexplained(
    parent: Float[Tensor, " numbers"], child: Float[Tensor, " numbers"], traces: Traces
) -> Float[Tensor, " numbers"]:
    """What pruning and rounding of the child do not explain of every difference.

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
    return error * (child != 0) if traces.zeros > _SPARSER else error


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
