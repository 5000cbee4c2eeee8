"""How alike all pairs of some networks are: by matched units, or tensor by tensor in the stored order."""

from abc import ABC, abstractmethod
from typing import final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from weightatlas.progress import Tracker
from weightatlas.relate.align import Aligned
from weightatlas.relate.canonical import Canonical, body_of
from weightatlas.relate.compare import RELATED
from weightatlas.relate.evidence import evidence, placed
from weightatlas.relate.lineup import Beside, Lineup
from weightatlas.relate.null import Null
from weightatlas.relate.pair import Pair, pair_of
from weightatlas.symmetry.permutation import Permutations, permute
from weightatlas.weights.spec import NetworkSpec

_CLOSER = 1.02  # how much larger the squared difference in the stored order may be than after matching


class Kinship(ABC):
    """What is known of all pairs of networks of one layout.

    Args:
        lineup: The networks.
        bar: Told how many pairs were compared.
    """

    def __init__(self, lineup: Lineup, bar: Tracker | None = None) -> None:
        self.lineup, self.values, self.spec = lineup, lineup.values, lineup.spec
        count = len(self.values)
        self.p = np.ones((count, count))
        self.scores = np.full((count, count), -np.inf)
        self.ways: dict[tuple[int, int], tuple[Permutations, tuple[Tensor, ...]]] = {}
        bar = bar or Tracker(None, "comparing networks")
        for row in range(count - 1):
            found = lineup.beside(row, slice(row + 1, None))
            self.p[row, row + 1 :] = self.p[row + 1 :, row] = found.p_value.numpy()
            self.scores[row, row + 1 :] = self.scores[row + 1 :, row] = found.score.numpy()
            self._note_ways(row, found)
            bar.advance(count - 1 - row)

    def _note_ways(self, row: int, found: Beside) -> None:
        """Keep how later relatives of a network were matched to it."""
        if found.aligned is None:
            return
        for other in np.flatnonzero(self.p[row, row + 1 :] <= RELATED).tolist():
            way = found.aligned.rows(slice(other, other + 1))
            copied = (tuple(x.clone() for x in each) for each in (way.perms, way.signs))
            self.ways[row, row + 1 + other] = next(copied), next(copied)

    @abstractmethod
    def pair(self, first: int, second: int) -> Pair:
        """Put two relatives into the frame of the one with the smaller row.

        Args:
            first: A row.
            second: Another one.
        """

    @abstractmethod
    def frames(
        self, child: int, parents: list[int]
    ) -> tuple[Float[Tensor, "parents numbers"], Float[Tensor, " numbers"]]:
        """Put several networks into the order of another one; heads may be left out.

        Args:
            child: Row of the other one.
            parents: Rows of the several.

        Returns:
            Their numbers, and those of the other one.
        """

    def _stored(self, low: int, high: int) -> Pair:
        raw = self.values[low], self.values[high]
        return Pair(*raw, self.spec, permuted=False, rescaled=False, heads=True)


def kinship_of(
    values: Float[Tensor, "networks params"], spec: NetworkSpec, null: Null, bar: Tracker | None = None
) -> Kinship:
    """Compare all pairs, by matched units where hidden units are certain.

    Args:
        values: Networks as rows.
        spec: Their layout.
        null: What strangers look like after matching.
        bar: Told how many pairs were compared.
    """
    lineup = Lineup(values, spec, null)
    return MatchedUnits(lineup, bar) if lineup.matched else StoredTensors(lineup, bar)


@final
class MatchedUnits(Kinship):
    """Networks whose hidden units are certain."""

    def pair(self, first: int, second: int) -> Pair:
        low, high = min(first, second), max(first, second)
        forms = self._one(low), self._one(high)
        raw = self.values[low], self.values[high]
        perms, signs = self.ways[low, high]
        aligned = Aligned(placed(forms[1].bodies, perms, signs, self.lineup.form.body), perms, signs)
        matched = pair_of(raw, (self.spec, self.spec), forms, aligned)
        stored = self._stored(low, high)
        return stored if _closer(stored, matched) else matched

    def _one(self, row: int) -> Canonical:
        form, rows = self.lineup.form, slice(row, row + 1)
        factors = tuple(factor[rows] for factor in form.factors)
        some = form.values[rows], form.folded[rows], factors
        return Canonical(*some, form.spec, form.scalings, form.body, form.keep)

    def frames(
        self, child: int, parents: list[int]
    ) -> tuple[Float[Tensor, "parents numbers"], Float[Tensor, " numbers"]]:
        bodies, goal = self.lineup.form.bodies, self.lineup.form.bodies[child]
        perms = evidence(bodies[parents], goal, self.lineup.form.body, self.lineup.flips).aligned.perms
        keep = body_of(self.spec)[1]
        moved = permute(self.values[parents], perms, self.spec) if perms else self.values[parents]
        return moved[:, keep], self.values[child, keep]


@final
class StoredTensors(Kinship):
    """Networks of which only the stored order of tensors can be compared."""

    def pair(self, first: int, second: int) -> Pair:
        return self._stored(min(first, second), max(first, second))

    def frames(
        self, child: int, parents: list[int]
    ) -> tuple[Float[Tensor, "parents numbers"], Float[Tensor, " numbers"]]:
        return self.values[parents], self.values[child]


def _closer(stored: Pair, matched: Pair) -> bool:
    """Whether two networks are as alike in the order they are stored in as in the one that was found.

    Matching may exchange units that are dead or alike, which hides that numbers are equal.
    """
    if stored.first.shape != matched.first.shape:
        return False
    pairs = [(pair.first, pair.second) for pair in (stored, matched)]
    moved = [int((first != second).sum()) for first, second in pairs]
    error = [float((first - second).double().square().sum()) for first, second in pairs]
    return moved[0] < moved[1] or error[0] <= _CLOSER * error[1]
