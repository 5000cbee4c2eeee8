"""Good and new at once: generated networks that work and are no copies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.results import Kind, Record

REACHES = (0.25, 0.5, 0.75, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
MARGIN = 0.01


@dataclass(frozen=True, slots=True)
class Novelty:
    """How many of a set of networks are good, and how far good ones are from what was trained.

    Args:
        good: Share of the networks whose validation accuracy reaches the threshold.
        fractions: Reach -> share of the networks that are good and at least that far from the nearest
            training network, in units of the zoo's spread.
        copies: Share of the networks nearer than a hundredth of that unit.
        threshold: The anchors' median validation accuracy minus one point.
    """

    good: float
    fractions: dict[float, float]
    copies: float
    threshold: float

    def numbers(self) -> dict[str, float]:
        """All metrics by name."""
        far = {f"good and new at {reach:g}x": share for reach, share in self.fractions.items()}
        return {"good": self.good, **far, "copies": self.copies}

    def records(self, method: str, kind: Kind = "ours", **context: Any) -> list[Record]:
        """Write the metrics as records."""
        about = {"method": method, "kind": kind, **context}
        return [Record.build({**about, "metric": m, "value": v}) for m, v in self.numbers().items()]


def novelty(
    accuracy: Float[Tensor, " networks"],
    distance: Float[Tensor, " networks"],
    unit: float,
    anchors: Float[Tensor, " anchors"],
    reaches: Sequence[float] = REACHES,
) -> Novelty:
    """Judge a set of networks: good means at least the anchors' median validation accuracy minus one point.

    Example:
        >>> import torch
        >>> accuracy, distance = torch.tensor([0.9, 0.9, 0.2]), torch.tensor([2.5, 0.0, 9.0])
        >>> found = novelty(accuracy, distance, unit=1.0, anchors=torch.tensor([0.9]))
        >>> round(found.good, 2), round(found.fractions[2.0], 2), round(found.copies, 2)
        (0.67, 0.33, 0.33)

    Args:
        accuracy: Validation accuracy of each new network.
        distance: Aligned distance of each to its nearest training network.
        unit: Median aligned distance of training networks to their nearest neighbor of another lineage.
        anchors: Validation accuracies of the anchors.
        reaches: Distances in units of `unit`.

    Raises:
        DataError: There are no networks, no anchors, or the unit is not above zero.
    """
    if not len(accuracy) or not len(anchors) or unit <= 0:
        raise DataError(
            "Novelty needs networks, anchors and a unit above 0; "
            f"got {len(accuracy)}, {len(anchors)}, {unit:g}."
        )
    threshold = float(anchors.double().median()) - MARGIN
    good = accuracy.cpu() >= threshold
    far = distance.cpu().double() / unit
    fractions = {reach: float((good & (far >= reach)).double().mean()) for reach in reaches}
    return Novelty(float(good.double().mean()), fractions, float((far < 0.01).double().mean()), threshold)
