"""What a grader says: predictions with intervals, and for whom there is none."""

import math
from dataclasses import dataclass, replace

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Grades:
    """Predictions with intervals, and for whom there is none.

    Args:
        predicted: Predictions; NaN where the grader abstains, shape `(networks, targets)`.
        low: Lower ends of the intervals; minus infinity where it abstains.
        high: Upper ends.
        distance: Distance from the training networks, 0 for the median calibrating network and 1 where a
            tenth of them lie farther, `(networks,)`.
        familiar: Share of calibrating networks that are at least as far away (a p-value), `(networks,)`.
        abstained: True where no grade is given, `(networks,)`.
    """

    predicted: Float[Tensor, "networks targets"]
    low: Float[Tensor, "networks targets"]
    high: Float[Tensor, "networks targets"]
    distance: Float[Tensor, " networks"]
    familiar: Float[Tensor, " networks"]
    abstained: Bool[Tensor, " networks"]

    def of(self, target: int) -> "Grades":
        """Keep one property."""
        one = slice(target, target + 1)
        ends = {name: getattr(self, name)[:, one] for name in ("predicted", "low", "high")}
        return replace(self, **ends)

    def coverage(self, true: Float[Tensor, "networks targets"]) -> dict[str, float]:
        """Report how often intervals hold the truth among graded networks, their width, and abstentions."""
        given = ~self.abstained
        held = (self.low <= true) & (true <= self.high)
        width = (self.high - self.low)[given]
        return {
            "coverage": float(held[given].double().mean()) if bool(given.any()) else math.nan,
            "width": float(width.mean()) if bool(given.any()) else math.nan,
            "abstained": float(self.abstained.double().mean()),
        }
