"""Generated networks: accuracy, variety and novelty beside what averaging and noise reach."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.evaluate.distances import aligned
from weightatlas.evaluate.distributions import Distribution, describe
from weightatlas.evaluate.diversity import Diversity, Surroundings, diversity
from weightatlas.evaluate.exam import Exam
from weightatlas.latent.sample import noise_around
from weightatlas.results import Kind, Record
from weightatlas.weights.spec import NetworkSpec


@dataclass(frozen=True, slots=True)
class Generation:
    """One set of new networks, judged.

    Args:
        method: How they were made.
        kind: Ours, or a baseline.
        accuracy: Accuracy of each network, shape `(networks,)`.
        diversity: Their variety and distance to training networks.
        neighbor_accuracy: Accuracy of each network's nearest training network: what copying would give.
    """

    method: str
    kind: Kind
    accuracy: Float[Tensor, " networks"]
    diversity: Diversity
    neighbor_accuracy: Float[Tensor, " networks"]

    @property
    def distribution(self) -> Distribution:
        """Quantiles of the accuracies."""
        return describe(self.accuracy)

    def numbers(self) -> dict[str, float]:
        """All metrics by name."""
        found = self.distribution
        return {
            "accuracy": found.mean,
            "median accuracy": found.median,
            "best accuracy": found.quantiles[-1],
            "accuracy of nearest": float(self.neighbor_accuracy.double().mean()),
            **self.diversity.numbers(),
        }

    def records(self, **context: Any) -> list[Record]:
        """Write all metrics as records."""
        about = {"method": self.method, "kind": self.kind, "n": len(self.accuracy), **context}
        spreads = {"accuracy": self.distribution.std}
        return [
            Record.build({**about, "metric": metric, "value": value, "spread": spreads.get(metric)})
            for metric, value in self.numbers().items()
            if value == value
        ]


def judge_generated(
    sets: Mapping[str, Float[Tensor, "_ params"]],
    exam: Exam,
    train: Float[Tensor, "others params"],
    around: Surroundings,
    baselines: Sequence[str] = (),
) -> list[Generation]:
    """Judge several sets of new networks the same way.

    Args:
        sets: Method -> networks as rows, at least two each.
        exam: The evaluation images.
        train: Training networks as rows, in the order `around` was made from.
        around: The training networks prepared once, from `surroundings`.
        baselines: Methods that are baselines.

    Raises:
        DataError: A set is empty or holds one network.
    """
    accuracy = exam.accuracy(exam.classes(train))
    judged = []
    for method, networks in sets.items():
        if len(networks) < 2:
            raise DataError(f"'{method}' made {len(networks)} networks; variety is defined for 2 or more.")
        variety = diversity(networks, exam, around)
        own = exam.accuracy(exam.classes(networks))
        kind: Kind = "baseline" if method in baselines else "ours"
        judged.append(Generation(method, kind, own, variety, accuracy[variety.neighbor.to(accuracy.device)]))
    return judged


def trivial_sets(
    anchors: Float[Tensor, "anchors params"],
    count: int,
    generator: torch.Generator,
    spec: NetworkSpec,
    parents: int = 3,
    sigmas: Sequence[float] = (0.05, 0.1, 0.2),
) -> dict[str, Float[Tensor, "count params"]]:
    """Make the baselines every generator stands beside: anchors, averaged anchors, noise around anchors.

    Args:
        anchors: The networks the generator saw, as rows, best first.
        count: Networks per baseline.
        generator: Source of randomness.
        spec: Layout of the rows.
        parents: Anchors averaged into one network.
        sigmas: Noise levels, see `noise_around`.

    Returns:
        Method -> networks. "anchors" holds at most `count` of the anchors themselves.

    Raises:
        DataError: There are fewer than two anchors.
    """
    if len(anchors) < 2:
        raise DataError(f"Averaging needs at least 2 anchors; there are {len(anchors)}.")
    parents = min(parents, len(anchors))
    draws = torch.rand(count, len(anchors), generator=generator, device=generator.device)
    chosen = draws.argsort(1)[:, :parents].to(anchors.device)
    sets = {"anchors": anchors[:count], "averaged anchors": average(anchors, chosen)}
    if spec.groups:
        ordered = aligned(anchors, anchors[0], spec)
        sets["averaged anchors, aligned"] = average(ordered, chosen)
    for sigma in sigmas:
        sets[f"noise {sigma:g} around anchors"] = noise_around(anchors, count, generator, spec, sigma)
    return sets


def average(anchors: Float[Tensor, "anchors params"], chosen: Tensor) -> Float[Tensor, "count params"]:
    """Average chosen anchors.

    Args:
        anchors: Networks as rows.
        chosen: Indices of the parents of each new network, shape `(count, parents)`.
    """
    shares = torch.zeros(len(chosen), len(anchors), dtype=anchors.dtype, device=anchors.device)
    shares.scatter_add_(1, chosen, torch.full_like(chosen, 1, dtype=anchors.dtype))
    return shares @ anchors / chosen.shape[1]
