"""Score all pairs of strangers, and smooth what merging costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.relate.canonical import canonical_form
from weightatlas.relate.evidence import evidence
from weightatlas.relate.null import Null, score_of
from weightatlas.weights.spec import NetworkSpec


@dataclass(frozen=True)
class Strangers:
    """All pairs of some networks.

    Args:
        stored: Standardized likeness in the stored order.
        scores: Score after matching.
        pairs: The two rows of each pair.
    """

    stored: Float[Tensor, " pairs"]
    scores: Float[Tensor, " pairs"]
    pairs: Int[np.ndarray, "pairs 2"]

    def p_values(self, null: Null) -> Float[Tensor, " pairs"]:
        """Return joint p-values, as `null.p_values` does."""
        stored = torch.special.log_ndtr(-self.stored.double()).exp()
        return (2 * torch.minimum(stored, null.p_value(self.scores))).clamp_max(1.0)


def stranger_scores(values: Float[Tensor, "networks params"], spec: NetworkSpec) -> Strangers:
    """Compare every network with every other.

    Args:
        values: Networks as rows.
        spec: Their layout.
    """
    form = canonical_form(values, spec)
    flips = form.spec if spec.graph is not None else None
    stored, scores, pairs = [], [], []
    for row in range(len(values) - 1):
        found = evidence(form.bodies[row + 1 :], form.bodies[row], form.body, flips)
        stored.append(found.stored)
        scores.append(score_of(found))
        pairs += [(row, other) for other in range(row + 1, len(values))]
    return Strangers(torch.cat(stored), torch.cat(scores), np.array(pairs))


def falling(points: Sequence[tuple[float, float]], knots: int = 9) -> tuple[tuple[float, float], ...]:
    """Smooth (score, drop) points to a line that falls with the score.

    Example:
        >>> falling([(0.0, 0.4), (0.5, 0.2), (1.0, 0.0)], knots=2)
        ((0.0, 0.4), (1.0, 0.0))

    Args:
        points: Calibration pairs.
        knots: Points of the line, at equal shares of the pairs.
    """
    from sklearn.isotonic import IsotonicRegression

    scores, drops = np.array(points, dtype=float).T
    fitted = IsotonicRegression(increasing=False).fit(scores, drops)
    places = np.unique(np.quantile(scores, np.linspace(0, 1, knots)))
    return tuple(zip(places.tolist(), fitted.predict(places).tolist(), strict=True))
