"""How different networks are from each other and from the training networks."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.evaluate.distances import pairwise_mean
from weightatlas.evaluate.exam import Exam, decide
from weightatlas.evaluate.neighbors import Neighbors, matched_mean
from weightatlas.population.score import agreement as pairwise_agreement
from weightatlas.results import Kind, Record
from weightatlas.weights.spec import NetworkSpec


@dataclass(frozen=True, slots=True)
class Diversity:
    """Variety of a set of networks; stands beside every generated accuracy.

    Args:
        weights: Mean distance over pairs; with a spec every pair is matched on its own.
        outputs: Mean distance over pairs of softmax outputs, root mean square over images.
        disagreement: Mean share of images on which two networks predict different classes.
        nearest: Distance of each network to its nearest training network, shape `(networks,)`.
        neighbor: Index of that training network, shape `(networks,)`.
        unit: Median distance of training networks to their nearest neighbor of another lineage.
    """

    weights: float
    outputs: float
    disagreement: float
    nearest: Float[Tensor, " networks"]
    neighbor: Int[Tensor, " networks"]
    unit: float

    def numbers(self) -> dict[str, float]:
        """All metrics by name; distances in weights are in units of the zoo's spread."""
        return {
            "weight diversity": self.weights / self.unit,
            "output diversity": self.outputs,
            "disagreement": self.disagreement,
            "nearest training network": float(self.nearest.double().mean()) / self.unit,
        }

    def records(self, method: str, kind: Kind = "ours", **context: Any) -> list[Record]:
        """Write the metrics as records."""
        about = {"method": method, "kind": kind, "n": len(self.nearest), **context}
        return [Record.build({**about, "metric": m, "value": v}) for m, v in self.numbers().items() if v == v]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The training networks that sets are compared with, prepared once.

    Args:
        train: Training networks among which nearest ones are looked for.
        unit: The zoo's spread.
    """

    train: Neighbors
    unit: float


def surroundings(
    train: Float[Tensor, "others params"],
    spec: NetworkSpec | None = None,
    reference: Float[Tensor, " params"] | None = None,
    lineage: Int[Tensor, " others"] | None = None,
) -> Surroundings:
    """Prepare training networks for comparisons and measure their spread.

    Args:
        train: Training networks as rows.
        spec: Layout; without it weights are compared raw.
        reference: In whose order candidates are looked for; the first training network by default.
        lineage: Number of each network's lineage, so that checkpoints of a run are not neighbors.

    Raises:
        DataError: There are fewer than two lineages, or all are equal.
    """
    if not len(train):
        raise DataError("There are no training networks to compare with.")
    known = Neighbors(train, spec, reference)
    unit = known.spread(lineage)
    if unit <= 0:
        raise DataError("Half of the training networks are copies of others; distances have no unit.")
    return Surroundings(known, unit)


def diversity(networks: Float[Tensor, "networks params"], exam: Exam, around: Surroundings) -> Diversity:
    """Measure how far networks are from each other and from training networks.

    Args:
        networks: At least two networks as rows.
        exam: Images on which their predictions are compared.
        around: The training networks.

    Raises:
        DataError: There are fewer than two networks.
    """
    distance, neighbor = around.train.nearest(networks)
    outputs = exam.outputs(networks)
    return Diversity(
        weights=matched_mean(networks, around.train.spec),
        outputs=output_distance(outputs),
        disagreement=disagreement(decide(outputs)),
        nearest=distance,
        neighbor=neighbor,
        unit=around.unit,
    )


def output_distance(outputs: Float[Tensor, "networks queries classes"]) -> float:
    """Mean over pairs of the root-mean-square (over images) distance of softmax outputs."""
    shares = outputs.float().softmax(2).nan_to_num()
    return pairwise_mean(shares.flatten(1)) / outputs.shape[1] ** 0.5


def disagreement(classes: Int[Tensor, "networks queries"]) -> float:
    """Mean share of images on which two different networks predict different classes.

    Example:
        >>> import torch
        >>> disagreement(torch.tensor([[0, 1], [0, 0]]))
        0.5
    """
    count = len(classes)
    if count < 2:
        raise DataError(f"Diversity is defined for at least 2 networks; there is {count}.")
    same = pairwise_agreement(classes + 1, classes + 1).double()
    return float(1 - (same.sum() - same.diagonal().sum()) / (count * (count - 1)))
