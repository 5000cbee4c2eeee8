"""What running two networks adds: do they err alike, and does their average still work?"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from weightatlas.errors import ConfigError
from weightatlas.population.forward import Population
from weightatlas.population.score import score
from weightatlas.relate.canonical import canonical_form
from weightatlas.relate.null import Null
from weightatlas.symmetry.matching import canonical
from weightatlas.symmetry.signs import rescale
from weightatlas.weights.spec import NetworkSpec


def residuals(outputs: Float[Tensor, "networks queries classes"]) -> Float[Tensor, "networks numbers"]:
    """Take out of outputs what every good network knows: the class.

    Log-probabilities, centered per query, less their mean over the queries given the same class; of norm one.

    Args:
        outputs: Logits of networks on the same queries.
    """
    logs = F.log_softmax(outputs.double(), dim=2)
    logs = logs - logs.mean(dim=2, keepdim=True)
    one_hot = F.one_hot(logs.argmax(dim=2), logs.shape[2]).double()
    sums = one_hot.transpose(1, 2) @ logs
    means = sums / one_hot.sum(dim=1)[:, :, None].clamp_min(1)
    return F.normalize((logs - one_hot @ means).flatten(1), dim=1)


def output_likeness(
    first: Float[Tensor, "networks queries classes"], second: Float[Tensor, "others queries classes"]
) -> Float[Tensor, "networks others"]:
    """Correlate what outputs say beyond the class: high for copies, relatives, and distilled students.

    Args:
        first: Logits of some networks on unlabelled queries.
        second: Logits of others on the same queries.
    """
    return residuals(first) @ residuals(second).T


def midpoint_accuracies(
    population: Population,
    first: Float[Tensor, "pairs params"],
    second: Float[Tensor, "pairs params"],
    inputs: Tensor,
    labels: Int[Tensor, " queries"],
) -> Float[Tensor, "3 pairs"]:
    """Measure the accuracy of two networks and of their average after matching.

    Args:
        population: Runs the networks.
        first: Networks as rows.
        second: Their partners; brought to the scales and the order of the first units before.
        inputs: Normalized inputs.
        labels: Their classes.
    """
    spec = population.spec
    rows = [_in_frame(one, other, spec) for one, other in zip(first, second, strict=True)]
    both = torch.cat([first, second, (first + torch.stack(rows)) / 2])
    return score(population, both, inputs, labels)["acc"].view(3, -1)


def _in_frame(one: Float[Tensor, " params"], other: Tensor, spec: NetworkSpec) -> Tensor:
    """Match a network to another; where no norm stands between, units also get the other's scales."""
    form = canonical_form(torch.stack([one, other]), spec)
    if form.spec.layout_id != spec.layout_id:
        return canonical(other[None], one, spec)[0]
    moved = canonical(form.values[1:], form.values[0], spec)
    return rescale(moved, [1 / factor[:1] for factor in form.factors], spec, form.scalings)[0]


def midpoint_drop(
    population: Population,
    first: Float[Tensor, "pairs params"],
    second: Float[Tensor, "pairs params"],
    inputs: Tensor,
    labels: Int[Tensor, " queries"],
) -> Float[Tensor, " pairs"]:
    """Measure how much accuracy the average of two matched networks loses against the mean of both.

    Args:
        population: Runs the networks.
        first: Networks as rows.
        second: Their partners.
        inputs: Normalized inputs.
        labels: Their classes.
    """
    accuracies = midpoint_accuracies(population, first, second, inputs, labels)
    return accuracies[:2].mean(dim=0) - accuracies[2]


def can_merge(likeness: float, null: Null | None = None) -> float:
    """Predict the drop of accuracy at the midpoint of two matched networks from their score.

    Fitted on small networks: a rank, not a promise, for large ones.

    Args:
        likeness: `Relation.score`.
        null: Holds the calibration pairs; those of the package by default.

    Raises:
        ConfigError: The calibration holds no drops.
    """
    drops = (null or Null.default()).drops
    if not drops:
        raise ConfigError("The calibration holds no drops of merged networks.", todo="Run `bench lineage`.")
    scores, values = zip(*drops, strict=True)
    return float(np.interp(likeness, scores, values))
