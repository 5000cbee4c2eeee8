"""One network beside several others of its layout: how alike they are, by whichever test applies."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.relate.align import Aligned
from weightatlas.relate.canonical import canonical_form
from weightatlas.relate.compare import comparable
from weightatlas.relate.evidence import evidence
from weightatlas.relate.null import Null, p_values, score_of
from weightatlas.relate.tensorwise import tensor_evidence
from weightatlas.weights.spec import NetworkSpec


@dataclass(frozen=True)
class Beside:
    """What is known of one network and several others.

    Args:
        p_value: How likely strangers are this alike; 0 for equal numbers, 1 where one is not finite.
        score: 0 for strangers, 1 for copies; minus infinity where one is not finite.
        likeness: What the nearest are found by: mean cosine of matched units, or the score of stored tensors.
        tested: Which pairs a test was made of.
        aligned: The others in the order of the one, if units were matched.
    """

    p_value: Float[Tensor, " others"]
    score: Float[Tensor, " others"]
    likeness: Float[Tensor, " others"]
    tested: Tensor
    aligned: Aligned | None


class Lineup:
    """Networks of one layout that are to be compared.

    Units are matched where hidden units are certain; elsewhere tensors are compared in the stored order.

    Args:
        values: Networks as rows.
        spec: Their layout.
        null: What strangers look like after matching.
    """

    def __init__(self, values: Float[Tensor, "networks params"], spec: NetworkSpec, null: Null) -> None:
        self.values, self.spec, self.null = values.float(), spec, null
        self.finite = torch.isfinite(self.values).all(dim=1)
        self.clean = torch.where(self.finite[:, None], self.values, 0.0)
        self.form = canonical_form(self.clean, spec)
        self.flips = self.form.spec if spec.graph is not None else None
        self.matched = comparable(self.form, self.form)

    def beside(self, row: int, others: slice) -> Beside:
        """Compare one network with several.

        Equal numbers are kinship, however small the networks are; of networks that are not finite nothing is
        known.

        Args:
            row: The one.
            others: The several.
        """
        known = self.finite[others] & self.finite[row]
        copies = (self.values[others] == self.values[row]).all(dim=1) & known
        aligned = None
        if self.matched:
            bodies = self.form.bodies
            found = evidence(bodies[others], bodies[row], self.form.body, self.flips)
            p, score, aligned = p_values(found, self.null)[0], score_of(found).double(), found.aligned
            likeness, tested = found.matched.double(), known
        else:
            tensors = tensor_evidence(self.clean[others], self.clean[row], self.spec)
            p, score = tensors.p_value, tensors.score
            likeness, tested = score, known & (tensors.tested > 0)
        p = torch.where(known, torch.where(copies, 0.0, p), 1.0)
        score, likeness = (torch.where(known, x, -torch.inf) for x in (score, likeness))
        return Beside(p, score, likeness, tested, aligned)
