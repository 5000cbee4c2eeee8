"""How alike all pairs of some networks are: by matched units, or tensor by tensor in the stored order."""

from abc import ABC, abstractmethod
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.relate.align import Aligned
from weightatlas.relate.canonical import Canonical, body_of, canonical_form
from weightatlas.relate.compare import RELATED, comparable
from weightatlas.relate.evidence import evidence, placed
from weightatlas.relate.null import Null, p_values, score_of
from weightatlas.relate.pair import Pair, pair_of
from weightatlas.relate.tensorwise import tensor_evidence
from weightatlas.symmetry.permutation import Permutations, permute
from weightatlas.weights.spec import NetworkSpec

_CLOSER = 1.02  # how much larger the squared difference in the stored order may be than after matching


class Kinship(ABC):
    """What is known of all pairs of networks of one layout.

    Args:
        values: Networks as rows.
        spec: Their layout.
    """

    def __init__(self, values: Float[Tensor, "networks params"], spec: NetworkSpec) -> None:
        self.values, self.spec = values, spec
        self.finite = torch.isfinite(values).all(dim=1)
        self.p = np.ones((len(values), len(values)))
        self.scores = np.full((len(values), len(values)), -np.inf)

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

    def _keep(self, row: int, p: Tensor, scores: Tensor) -> None:
        """Note what was found of one row and all later ones; copies are kin, however small they are.

        Of networks that are not finite nothing is known.
        """
        copies = (self.values[row + 1 :] == self.values[row]).all(dim=1)
        known = self.finite[row + 1 :] & self.finite[row]
        p = torch.where(copies, 0.0, torch.where(known, p, 1.0))
        scores = torch.where(known, scores, -torch.inf)
        self.p[row, row + 1 :] = self.p[row + 1 :, row] = p.numpy()
        self.scores[row, row + 1 :] = self.scores[row + 1 :, row] = scores.numpy()

    def _stored(self, low: int, high: int) -> Pair:
        raw = self.values[low], self.values[high]
        return Pair(*raw, self.spec, permuted=False, rescaled=False, heads=True)


def kinship_of(values: Float[Tensor, "networks params"], spec: NetworkSpec, null: Null) -> Kinship:
    """Compare all pairs, by matched units where hidden units are certain.

    Args:
        values: Networks as rows.
        spec: Their layout.
        null: What strangers look like after matching.
    """
    finite = torch.isfinite(values).all(dim=1, keepdim=True)
    form = canonical_form(torch.where(finite, values, 0.0), spec)
    return MatchedUnits(values, spec, form, null) if comparable(form, form) else StoredTensors(values, spec)


@final
class MatchedUnits(Kinship):
    """Networks whose hidden units are certain.

    Args:
        values: Networks as rows.
        spec: Their layout.
        form: The same in canonical form; networks that are not finite as zeros.
        null: What strangers look like.
    """

    def __init__(
        self, values: Float[Tensor, "networks params"], spec: NetworkSpec, form: Canonical, null: Null
    ) -> None:
        super().__init__(values, spec)
        self.form = form
        self.flips = form.spec if spec.graph is not None else None
        self.ways: dict[tuple[int, int], tuple[Permutations, tuple[Tensor, ...]]] = {}
        bodies = form.bodies
        for row in range(len(bodies) - 1):
            found = evidence(bodies[row + 1 :], bodies[row], form.body, self.flips)
            self._keep(row, p_values(found, null)[0], score_of(found))
            for other in np.flatnonzero(self.p[row, row + 1 :] <= RELATED).tolist():
                way = found.aligned.rows(slice(other, other + 1))
                copied = (tuple(x.clone() for x in each) for each in (way.perms, way.signs))
                self.ways[row, row + 1 + other] = next(copied), next(copied)

    def pair(self, first: int, second: int) -> Pair:
        low, high = min(first, second), max(first, second)
        forms = self._one(low), self._one(high)
        raw = self.values[low], self.values[high]
        perms, signs = self.ways[low, high]
        aligned = Aligned(placed(forms[1].bodies, perms, signs, self.form.body), perms, signs)
        matched = pair_of(raw, (self.spec, self.spec), forms, aligned)
        stored = self._stored(low, high)
        return stored if _closer(stored, matched) else matched

    def _one(self, row: int) -> Canonical:
        form, rows = self.form, slice(row, row + 1)
        factors = tuple(factor[rows] for factor in form.factors)
        some = form.values[rows], form.folded[rows], factors
        return Canonical(*some, form.spec, form.scalings, form.body, form.keep)

    def frames(
        self, child: int, parents: list[int]
    ) -> tuple[Float[Tensor, "parents numbers"], Float[Tensor, " numbers"]]:
        bodies, goal = self.form.bodies, self.form.bodies[child]
        perms = evidence(bodies[parents], goal, self.form.body, self.flips).aligned.perms
        keep = body_of(self.spec)[1]
        moved = permute(self.values[parents], perms, self.spec) if perms else self.values[parents]
        return moved[:, keep], self.values[child, keep]


@final
class StoredTensors(Kinship):
    """Networks of which only the stored order of tensors can be compared.

    Args:
        values: Networks as rows.
        spec: Their layout.
    """

    def __init__(self, values: Float[Tensor, "networks params"], spec: NetworkSpec) -> None:
        super().__init__(values, spec)
        for row in range(len(values) - 1):
            found = tensor_evidence(values[row + 1 :], values[row], spec)
            self._keep(row, found.p_value, found.score)

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
