"""What is trivially reached: the agreement of training networks with strangers."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.evaluate.distances import aligned, nearest
from weightatlas.evaluate.exam import Exam
from weightatlas.population.score import agreement as pairwise_agreement
from weightatlas.results import Record
from weightatlas.weights.spec import NetworkSpec


@dataclass(frozen=True, slots=True)
class Reference:
    """How far each test network is predicted by networks that know nothing of it.

    Args:
        candidates: Trivial rebuild -> its agreement with each test network, shape `(networks,)`.
        closest: Agreement with the closest training network by agreement itself. It looks at the very
            images it is judged on, which no rebuild may; a harder line beside the reference.
    """

    candidates: dict[str, Float[Tensor, " networks"]]
    closest: Float[Tensor, " networks"]

    @property
    def best(self) -> Float[Tensor, " networks"]:
        """The best trivial rebuild of each test network, shape `(networks,)`."""
        return torch.stack(list(self.candidates.values())).amax(0)

    @property
    def a0(self) -> float:
        """The reference of excess agreement: the mean over test networks of their best trivial rebuild."""
        return float(self.best.double().mean())

    @property
    def a0_one(self) -> float:
        """A milder reference: the best single trivial method, the same for all test networks."""
        return max(float(values.double().mean()) for values in self.candidates.values())

    def excess(self, agreement: float) -> float:
        """Scale agreement so that the reference is 0 and a perfect rebuild is 1.

        Raises:
            DataError: The reference agrees everywhere; nothing can exceed it.
        """
        return excess(agreement, self.a0)

    def records(self, **context: Any) -> list[Record]:
        """Write the trivial rebuilds as baseline rows."""
        rows = {
            **{name: float(v.double().mean()) for name, v in self.candidates.items()},
            "best of these (a0)": self.a0,
        }
        rows["closest by agreement"] = float(self.closest.double().mean())
        about = {"kind": "baseline", "n": len(self.closest), **context}
        return [
            Record.build({**about, "method": name, "metric": metric, "value": value})
            for name, a in rows.items()
            for metric, value in (("agreement", a), ("excess agreement", self.excess(a)))
        ]


def excess(agreement: float, reference: float) -> float:
    """(a - a0) / (1 - a0): how much of the way from trivial to perfect a rebuild has gone.

    Example:
        >>> excess(0.75, 0.5)
        0.5

    Raises:
        DataError: The reference is 1.
    """
    if reference >= 1:
        raise DataError(
            "A trivial network already agrees with every test network on every image.",
            todo="Evaluate on networks whose accuracies differ, or on harder images.",
        )
    return (agreement - reference) / (1 - reference)


def reference_of(
    exam: Exam,
    train: Float[Tensor, "others params"],
    scores: Float[Tensor, " others"],
    test: Float[Tensor, "networks params"],
    spec: NetworkSpec | None = None,
    train_classes: Int[Tensor, "others queries"] | None = None,
) -> Reference:
    """Measure nearest training network, mean network and best training network against test networks.

    Nearest and mean are tried on raw weights and, with a spec, on weights aligned to the best training
    network (Git Re-Basin), which removes the order of neurons from the distance.

    Args:
        exam: The evaluation images.
        train: Training networks as rows.
        scores: Their validation accuracies: the best network is chosen without looking at test images.
        test: Test networks as rows.
        spec: Layout of the rows, for alignment.
        train_classes: Predictions of the training networks, if already known.

    Raises:
        DataError: There are no training networks, or not one score each.
    """
    if not len(train) or len(scores) != len(train):
        raise DataError(
            f"A reference needs a score per training network: {len(train)} networks, {len(scores)} scores."
        )
    if train_classes is None:
        train_classes = exam.classes(train)
    test_classes = exam.classes(test)
    top = int(scores.nan_to_num(-torch.inf).argmax())
    candidates = {"best training network": match(test_classes, train_classes[top : top + 1])}
    views = {"": (train, test)}
    if spec is not None and spec.groups:
        views[", aligned"] = (aligned(train, train[top], spec), aligned(test, train[top], spec))
    for name, (others, networks) in views.items():
        _, index = nearest(networks, others)
        candidates[f"nearest training network{name}"] = match(test_classes, train_classes[index])
        mean = exam.classes(others.double().mean(0, keepdim=True).float())
        candidates[f"mean network{name}"] = match(test_classes, mean)
    return Reference(candidates, closest_by_agreement(test_classes, train_classes))


def closest_by_agreement(
    test: Int[Tensor, "networks queries"], train: Int[Tensor, "others queries"], chunk: int = 512
) -> Float[Tensor, " networks"]:
    """Agreement of each test network with the training network that agrees with it most."""
    found = [pairwise_agreement(test.clamp_min(0), part.clamp_min(0)).amax(1) for part in train.split(chunk)]
    return torch.stack(found).amax(0)


def match(
    first: Int[Tensor, "networks queries"], second: Int[Tensor, "_ queries"]
) -> Float[Tensor, " networks"]:
    """Share of queries on which row i of one set predicts as row i of the other; undecided never agrees.

    Example:
        >>> match(torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0, 0], [1, 1]]))
        tensor([0.5000, 1.0000])
    """
    return ((first == second) & (first >= 0)).float().mean(1)
