"""Scores of predictions between zoos: of every pair, means over rows and over all, intervals of the means."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.evaluate.protocols.cross_zoos import Place
from weightatlas.evaluate.protocols.scores import TITLES, scored
from weightatlas.predict.metrics import kendall
from weightatlas.runtime import numpy_generator_of

Route = tuple[Place, Place]
MEANS = ("tau", "tau above chance", "R2", "MAE")
PER_PAIR = ("tau", "tau low", "tau high", "tau above chance", "R2", "MAE", "coverage")


@dataclass(frozen=True, slots=True)
class Pair:
    """Predictions for the test networks of one zoo by what was trained on another.

    Args:
        predicted: Predictions.
        true: The property.
        accuracy: Test accuracy of the networks, which says who is above chance.
        classes: Classes of their task.
        reach: Half of the width of each interval; none if nothing was calibrated.
        rival: Predictions of the method that others are compared with.
    """

    predicted: Float[Tensor, " networks"]
    true: Float[Tensor, " networks"]
    accuracy: Float[Tensor, " networks"]
    classes: int
    reach: Float[Tensor, " networks"] | None = None
    rival: Float[Tensor, " networks"] | None = None

    def numbers(self, target: str, draws: int) -> dict[str, float]:
        """Score the predictions and their intervals; what is undefined on these networks is left out."""
        labels = {target: self.true, "test_acc": self.accuracy}
        about = {"bench": "", "tier": "", "zoo": "", "method": ""}
        records = scored(self.predicted[:, None], labels, (target,), self.classes, about, draws)
        title = TITLES.get(target, target)
        found = {record.metric.removesuffix(f" {title}"): record.value for record in records}
        found.setdefault("tau", 0.0)  # a property that is the same for all orders nobody
        if self.reach is not None:
            held = (self.predicted - self.true).abs() <= self.reach
            found |= {"coverage": float(held.double().mean()), "width": 2 * float(self.reach.mean())}
        return found


def summarized(scores: Mapping[Route, Mapping[str, float]]) -> dict[str, float]:
    """Means over all pairs and over the pairs of each row, and every pair's scores.

    Args:
        scores: (source, target) -> scores.
    """
    several = len({place[0] for pair in scores for place in pair}) > 1
    name = {place: "/".join(place) if several else place[1] for pair in scores for place in pair}
    found = {metric: mean for metric in MEANS if (mean := _mean(scores.values(), metric)) is not None}
    rows: dict[str, list[float]] = {}
    for (source, target), score in scores.items():
        row = f"{source[0]} to {target[0]}" if several else f"from {source[1]}"
        rows.setdefault(row, []).append(score["tau"])
    found |= {f"tau {row}": fmean(values) for row, values in rows.items()}
    for label, inside in (("in distribution", True), ("across", False)):
        chosen = [score for (source, target), score in scores.items() if (source == target) == inside]
        for metric in ("tau", "coverage"):
            if (mean := _mean(chosen, metric)) is not None:
                found[f"{metric} {label}"] = mean
    if (width := _mean(scores.values(), "width")) is not None:
        found["interval width"] = width
    for (source, target), score in scores.items():
        own = {metric: score[metric] for metric in PER_PAIR if metric in score}
        found |= {f"{metric}: {name[source]} to {name[target]}": value for metric, value in own.items()}
    return found


def _mean(scores: Iterable[Mapping[str, float]], metric: str) -> float | None:
    known = [score[metric] for score in scores if metric in score]
    return fmean(known) if known else None


def intervals(pairs: Mapping[Route, Pair], rival: str, draws: int, level: float = 0.95) -> dict[str, float]:
    """Bounds of the mean tau over all pairs, and its difference to a rival's, over networks drawn anew.

    One draw takes the same networks of a zoo in every pair that is tested on it, for the method and for its
    rival.

    Args:
        pairs: (source, target) -> predictions.
        rival: Name of the rival, which the pairs have predictions of or have not.
        draws: How many.
        level: Share of the draws between the bounds.
    """
    generator = numpy_generator_of("cross", draws)
    targets = {target: len(pair.true) for (_, target), pair in pairs.items()}
    known = all(pair.rival is not None for pair in pairs.values())
    own, gains = [], []
    for draw in range(draws + 1):
        # The first takes every network once: the value itself.
        rows = {
            target: torch.from_numpy(generator.integers(count, size=count)) if draw else torch.arange(count)
            for target, count in targets.items()
        }
        taus = [_tau(pair.predicted, pair.true, rows[target]) for (_, target), pair in pairs.items()]
        own.append(fmean(taus))
        if known:
            others = [_tau(pair.rival, pair.true, rows[target]) for (_, target), pair in pairs.items()]
            gains.append(own[-1] - fmean(others))
    ends = ((1 - level) / 2, (1 + level) / 2)
    low, high = np.quantile(own[1:], ends)
    found = {"tau low": float(low), "tau high": float(high)}
    if known:
        low, high = np.quantile(gains[1:], ends)
        name = f"tau over {rival}"
        found |= {name: gains[0], f"{name} low": float(low), f"{name} high": float(high)}
    return found


def _tau(predicted: Tensor | None, true: Tensor, rows: Tensor) -> float:
    """Tau on some networks; 0 where the property is the same for all, which orders nobody."""
    assert predicted is not None
    try:
        return kendall(predicted[rows], true[rows])
    except DataError:
        return 0.0
