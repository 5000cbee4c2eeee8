"""What happens to accuracy along a path between two networks."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.results import Kind, Record


@dataclass(frozen=True, slots=True)
class Paths:
    """Measures of paths, a number per path.

    Args:
        barrier: How far the curve falls below the chord between its ends, at most; 0 if it never does.
        area: Mean distance between curve and chord.
        linearity: R2 of the straight line that fits the curve best; 0 for a constant curve.
        spearman: Rank correlation of place and value; 0 for a constant curve.
        endpoint_gap: Mean distance of the curve's ends from the networks the path is meant to join.
    """

    barrier: Float[Tensor, " paths"]
    area: Float[Tensor, " paths"]
    linearity: Float[Tensor, " paths"]
    spearman: Float[Tensor, " paths"]
    endpoint_gap: Float[Tensor, " paths"]

    def records(self, method: str, kind: Kind = "ours", **context: Any) -> list[Record]:
        """Write means over paths with their spread."""
        names = {
            "path barrier": self.barrier,
            "path area": self.area,
            "path linearity R2": self.linearity,
            "path Spearman": self.spearman,
            "path endpoint gap": self.endpoint_gap,
        }
        about = {"method": method, "kind": kind, "n": len(self.barrier), **context}
        return [
            Record.build(
                {
                    **about,
                    "metric": name,
                    "value": float(values.double().mean()),
                    "spread": float(values.double().std()) if len(values) > 1 else None,
                }
            )
            for name, values in names.items()
        ]


def measure_paths(
    curve: Float[Tensor, "paths positions"],
    positions: Float[Tensor, " positions"],
    ends: Float[Tensor, "paths 2"],
) -> Paths:
    """Measure accuracy (or anything of which more is better) along paths.

    Example:
        >>> positions = torch.linspace(0, 1, 5)
        >>> found = measure_paths(positions[None] ** 2, positions, torch.tensor([[0.0, 1.0]]))
        >>> found.barrier, found.spearman
        (tensor([0.2500]), tensor([1.]))

    Args:
        curve: Accuracy at each place.
        positions: Places, from 0 to 1, both included.
        ends: Accuracy of the networks at the ends: originals, where the path goes through decoded ones.

    Raises:
        DataError: Places do not run from 0 to 1.
    """
    if len(positions) < 3 or positions[0] != 0 or positions[-1] != 1 or bool((positions.diff() <= 0).any()):
        raise DataError(f"Positions must run from 0 to 1 in at least 3 places, got {positions.tolist()[:5]}.")
    curve, at, ends = curve.double(), positions.double(), ends.double()
    chord = torch.lerp(curve[:, :1], curve[:, -1:], at)
    gap = (curve[:, [0, -1]] - ends).abs().mean(1)
    area = torch.trapezoid((curve - chord).abs(), at, dim=1)
    barrier = (chord - curve).amax(1).clamp(min=0)
    line = _correlation(curve, at.expand_as(curve)).square()
    order = _correlation(_ranks(curve), _ranks(at.expand_as(curve)))
    return Paths(*(part.float() for part in (barrier, area, line, order, gap)))


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of rows; 0 where one is constant."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    size = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(size > 1e-12, (a * b).sum(1) / size.clamp(min=1e-12), 0.0)


def _ranks(values: Tensor) -> Tensor:
    """Ranks within rows; equal values share their mean rank."""
    below = (values[:, :, None] > values[:, None, :]).sum(2)
    equal = (values[:, :, None] == values[:, None, :]).sum(2)
    return below + 0.5 * (equal - 1.0)
