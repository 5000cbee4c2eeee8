"""What strangers look like: p-values of likeness, fitted on pairs that were trained independently."""

from functools import cache
from importlib import resources
from typing import Self

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.errors import ConfigError
from weightatlas.relate.evidence import Evidence
from weightatlas.weights.statistics import row_quantiles

_TAIL = 0.05  # share of strangers from which the exponential tail is fitted
_GRID = 41


class Null(Config):
    """Distribution of the score of strangers.

    The score is (m - c) / (1 - c): m is the likeness after matching, c that of scrambled weights; 0 for
    strangers without anything in common, 1 for copies. Strangers trained on the same data come out a
    little above 0.
    Up to the 95th percentile p-values are those of the calibration pairs, beyond it an exponential tail.

    Args:
        scores: Quantiles of the score at equal steps of probability from 0 to 0.95.
        excess: Mean excess beyond the last of them: scale of the tail.
        pairs: Calibration pairs.
        networks: Calibration networks.
        source: What they were.
        outputs: Largest output likeness of 999 of 1,000 strangers; see `relate.behavior`.
        drops: (score, drop of accuracy at the midpoint) of calibration pairs, smoothed to a falling line.
    """

    scores: tuple[float, ...] = Field(min_length=2)
    excess: float = Field(gt=0)
    pairs: int
    networks: int
    source: str = ""
    outputs: float = 1.0
    drops: tuple[tuple[float, float], ...] = ()

    @classmethod
    def fit(cls, scores: Float[Tensor, " pairs"], networks: int, source: str = "") -> Self:
        """Fit the distribution to pairs of independently trained networks.

        Args:
            scores: Their scores, at least 100.
            networks: How many networks they are pairs of.
            source: What they were.

        Raises:
            ConfigError: There are too few pairs.
        """
        if len(scores) < 100:
            raise ConfigError(
                f"{len(scores)} pairs of strangers are too few to calibrate on.",
                todo="Pass at least 100, or use Null.default().",
            )
        levels = torch.linspace(0, 1 - _TAIL, _GRID, dtype=torch.float64)
        values = row_quantiles(scores.double()[None], levels.tolist())[0]
        beyond = scores.double()[scores.double() > values[-1]] - values[-1]
        excess = max(float(beyond.mean()) if len(beyond) else 0.0, 1e-6)
        return cls(
            scores=tuple(values.tolist()), excess=excess, pairs=len(scores), networks=networks, source=source
        )

    @classmethod
    def default(cls) -> "Null":
        """Return the distribution that comes with the package, measured by `bench lineage`."""
        return _default()

    def p_value(self, scores: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
        """Return how likely strangers are to score at least this high.

        Args:
            scores: Scores of pairs.
        """
        values = torch.tensor(self.scores, dtype=torch.float64)
        scores = scores.double()
        place = (torch.searchsorted(values, scores, right=False) - 1).clamp(0, len(values) - 2)
        width = (values[place + 1] - values[place]).clamp_min(1e-12)
        inside = ((scores - values[place]) / width).clamp(0, 1)
        below = 1 - (place + inside) * (1 - _TAIL) / (len(values) - 1)
        tail = _TAIL * torch.exp(-(scores - values[-1]) / self.excess)
        return torch.where(scores > values[-1], tail, below).clamp(1e-300, 1.0)


@cache
def _default() -> Null:
    with resources.as_file(resources.files("weightatlas") / "presets" / "lineage_null.yaml") as path:
        return Null.from_yaml(path)


def score_of(found: Evidence) -> Float[Tensor, " networks"]:
    """Turn likeness into a share: 0 for scrambled weights, 1 for copies."""
    room = (1 - found.control).clamp_min(1e-6)
    return (found.matched - found.control) / room


def p_values(
    found: Evidence, null: Null
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return p-values of kinship: joint, in the stored order, after matching.

    The joint one is twice the smaller of the two (Bonferroni). In the stored order the law is known: a normal
    approximation of all renumberings, which needs no calibration.

    Args:
        found: Evidence about several pairs.
        null: What strangers score.
    """
    stored = torch.special.log_ndtr(-found.stored.double()).exp().clamp_min(1e-300)
    matched = null.p_value(score_of(found))
    return (2 * torch.minimum(stored, matched)).clamp_max(1.0), stored, matched
