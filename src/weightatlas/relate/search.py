"""Find networks: the nearest ones to a given one, and duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.encoders.base import Encoder
from weightatlas.errors import DataError
from weightatlas.progress import Tracker, track
from weightatlas.relate.canonical import canonical_form
from weightatlas.relate.compare import RELATED
from weightatlas.relate.lineup import Lineup
from weightatlas.relate.null import Null
from weightatlas.weights.batch import batch_of
from weightatlas.weights.spec import NetworkSpec

_SAME = 1e-8  # relative squared distance of canonical forms below which networks are copies
_AT_ONCE = 256  # networks that are compared before progress is told
_NEAR = 1e-2  # and below which they are near duplicates


@dataclass(frozen=True)
class Neighbor:
    """A network near another.

    Args:
        row: Which one; networks of several stacks are counted on.
        score: Likeness of weights: 0 for strangers, 1 for copies; none if it is not finite.
        p_value: How likely strangers are this alike, times the number of pairs tested (Bonferroni).
        distance: Distance of embeddings, if an encoder was given.
    """

    row: int
    score: float | None
    p_value: float
    distance: float | None


def search(
    like: Float[Tensor, " params"],
    values: Float[Tensor, "networks params"],
    spec: NetworkSpec,
    top: int = 10,
    encoder: Encoder | None = None,
    null: Null | None = None,
) -> list[Neighbor]:
    """Find the networks nearest to one, relatives first; networks that are not finite come last.

    Relatives are ranked by likeness of aligned weights; the others by distance of embeddings if there is an
    encoder, else by likeness too.

    Args:
        like: The network to look for.
        values: Networks as rows.
        spec: Layout of all.
        top: How many to return.
        encoder: Gives embeddings; none compares weights only.
        null: What strangers look like; measured values of the package by default.

    Raises:
        DataError: The network is not finite.
    """
    return search_stacks(like, [(values, spec)], top, encoder, null)


def search_stacks(
    like: Float[Tensor, " params"],
    stacks: Sequence[tuple[Float[Tensor, "networks params"], NetworkSpec]],
    top: int = 10,
    encoder: Encoder | None = None,
    null: Null | None = None,
) -> list[Neighbor]:
    """Find the networks nearest to one among several stacks, as `search` does.

    Stacks are equally laid out but differ in what else is known of them, such as their activation; the
    network is compared with each as if it were one of it. P-values are corrected for all pairs of all
    stacks that could be tested, copies of it included.

    Args:
        like: The network to look for.
        stacks: Networks as rows, and their layout.
        top: How many to return.
        encoder: Gives embeddings; none compares weights only.
        null: What strangers look like; measured values of the package by default.

    Raises:
        DataError: The network is not finite.
    """
    if not bool(torch.isfinite(like).all()):
        raise DataError("The network to look for holds NaN or infinite values.", todo="Look for another one.")
    null, parts = null or Null.default(), []
    with track(sum(len(values) for values, _ in stacks), "searching networks") as bar:
        for values, spec in stacks:
            parts += _looked_at(Lineup(torch.cat([like[None].float(), values.float()]), spec, null), bar)
    if not parts:
        return []
    far = np.concatenate([_distances_of(like, *stack, encoder) for stack in stacks])
    p, scores, near, tested = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    p = np.minimum(p * tested.sum().clip(1), 1.0)
    kin = p <= RELATED
    order = np.lexsort((-near, np.nan_to_num(far) * ~kin, ~kin))[:top]
    return [
        Neighbor(int(row), _known(float(scores[row])), float(p[row]), _known(float(far[row])))
        for row in order
    ]


def _looked_at(lineup: Lineup, bar: Tracker) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Compare the first network with the others: p-values, scores, likeness, and whether a test was made."""
    found = []
    for start in range(1, len(lineup.values), _AT_ONCE):
        some = lineup.beside(0, slice(start, start + _AT_ONCE))
        found.append((some.p_value, some.score, some.likeness, some.tested))
        bar.advance(len(some.score))
    return found


def _distances_of(
    like: Tensor, values: Tensor, spec: NetworkSpec, encoder: Encoder | None
) -> Float[np.ndarray, " networks"]:
    """Distance of embeddings from that of a network; infinite for networks that are not finite."""
    if encoder is None:
        return np.full(len(values), np.nan)
    finite = torch.isfinite(values).all(dim=1)
    rows = torch.cat([like[None], torch.where(finite[:, None], values, 0.0)])
    embedded = encoder.embed(batch_of(rows, spec)).double()
    return torch.where(finite, (embedded[1:] - embedded[0]).norm(dim=1), torch.inf).numpy()


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


@dataclass(frozen=True)
class Duplicates:
    """Networks that are nearly the same.

    Args:
        rows: Their rows; the first is kept.
        kind: "exact" (every number), "copies" (up to order, scale and sign of units) or "near".
        bytes_saved: What leaving out the others saves, at four bytes a number.
    """

    rows: tuple[int, ...]
    kind: str
    bytes_saved: int


def duplicates(values: Float[Tensor, "networks params"], spec: NetworkSpec) -> list[Duplicates]:
    """Group networks that are equal, equal up to symmetry, or nearly so.

    Exact copies are found by their bytes. The others are compared with the first of every group.

    Args:
        values: Networks as rows.
        spec: Their layout.

    Returns:
        Groups of at least two, the most alike kinds first.
    """
    groups: dict[bytes, list[int]] = {}
    for row, vector in enumerate(values.numpy()):
        groups.setdefault(vector.tobytes(), []).append(row)
    size = values.shape[1] * 4
    result = [_group(rows, "exact", size) for rows in groups.values() if len(rows) > 1]
    firsts = [rows[0] for rows in groups.values()]
    close = _distances(values[firsts].float(), spec)
    for kind, low, high in (("copies", -1.0, _SAME), ("near", _SAME, _NEAR)):
        for own in _components((close > low) & (close <= high)):
            result.append(_group([firsts[place] for place in own], kind, size))
    return result


def _group(rows: list[int], kind: str, size: int) -> Duplicates:
    return Duplicates(tuple(rows), kind, (len(rows) - 1) * size if kind != "near" else 0)


def _distances(values: Tensor, spec: NetworkSpec) -> np.ndarray:
    """Relative squared distances of aligned canonical networks, heads included."""
    from weightatlas.relate.align import align

    form, count = canonical_form(values, spec), len(values)
    sizes = form.values.abs().sort(dim=1).values
    found = np.full((count, count), np.inf)
    flips = form.spec if spec.graph is not None else None
    for row in range(count - 1):
        near = _candidates(sizes[row + 1 :], sizes[row])
        if len(near):
            one = form.values[row].double()
            aligned = align(form.values[row + 1 :][near], form.values[row], form.spec, flips).values.double()
            far = (aligned - one).square().sum(dim=1) / one.square().sum().clamp_min(1e-30)
            found[row, row + 1 + near.numpy()] = found[row + 1 + near.numpy(), row] = far.numpy()
    return found


def _candidates(values: Tensor, one: Tensor) -> Tensor:
    """Rows of sorted sizes that are close to those of one network: all that copies can be."""
    first, second = values.double(), one.double()
    far = (first - second).square().sum(dim=1) / second.square().sum().clamp_min(1e-30)
    return (far <= _NEAR).nonzero().flatten()


def _components(near: np.ndarray) -> list[list[int]]:
    """Groups of rows that are linked."""
    from scipy.sparse.csgraph import connected_components

    _, label = connected_components(near, directed=False)
    groups = [np.flatnonzero(label == number).tolist() for number in np.unique(label)]
    return [group for group in groups if len(group) > 1]
