"""Supervised loss: properties of networks, predicted from their embeddings by a head."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor
from torch.nn import functional as F

from weightatlas.config import Config
from weightatlas.errors import ConfigError
from weightatlas.objectives.step import Objective, Step

Kind = Literal["accuracy", "real", "class"]


class Target(Config):
    """A property and how it is predicted.

    Example:
        >>> Target(name="label", kind="class", classes=10).width
        10

    Args:
        name: Label of the batch it is read from.
        kind: "accuracy" for numbers in [0, 1] (binary cross-entropy of a sigmoid), "real" (squared error in
            units of the training networks' spread) or "class" (cross-entropy over whole-numbered labels).
        classes: How many classes there are, for "class".
    """

    name: str
    kind: Kind = "real"
    classes: int | None = None

    @model_validator(mode="after")
    def _classes_are_counted(self) -> "Target":
        if (self.kind == "class") != (self.classes is not None):
            raise ValueError(f"property '{self.name}': give `classes` for kind='class' and only then")
        if self.classes is not None and self.classes < 2:
            raise ValueError(f"property '{self.name}': a class needs at least 2 classes, not {self.classes}")
        return self

    @property
    def width(self) -> int:
        """Numbers the head gives for it."""
        return self.classes or 1


class Property(Objective):
    """Mean over properties of each one's loss, on the first view of every network.

    Accuracies by binary cross-entropy as in NFN and SNE, real numbers by squared error, labels of
    encoded signals by cross-entropy. The head is the composite loss's, so that other terms see the
    same predictions.

    Args:
        targets: What is predicted, in the order of the head's numbers.
    """

    name: ClassVar[str] = "property"
    mixes: ClassVar[bool] = True
    joins: ClassVar[Literal["mean", "embeddings"] | None] = "mean"
    mean: Float[Tensor, " targets"]
    std: Float[Tensor, " targets"]

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__()
        if not targets:
            raise ConfigError("A supervised loss needs at least one property.")
        self.targets = tuple(targets)
        self.labels = tuple(target.name for target in self.targets)
        self.register_buffer("mean", torch.zeros(len(self.targets)))
        self.register_buffer("std", torch.ones(len(self.targets)))

    @property
    def width(self) -> int:
        """Numbers the head must give."""
        return sum(target.width for target in self.targets)

    @torch.no_grad()
    def adapt(self, labels: Float[Tensor, "networks targets"]) -> None:
        """Take mean and spread of real-valued properties from training networks.

        Args:
            labels: A column per property, float64.
        """
        for place, target in enumerate(self.targets):
            if target.kind == "real":
                column = labels[:, place].double()
                spread = float(column.std(correction=0))
                self.mean[place] = float(column.mean())
                self.std[place] = spread if spread > 0 else 1.0

    def forward(self, step: Step) -> dict[str, Float[Tensor, ""]]:
        """Compare predictions of the first views with the labels.

        Raises:
            ConfigError: The step has no predictions or no labels.
        """
        if step.predictions is None:
            raise ConfigError("The property loss needs a head: pass head= to the composite loss.")
        missing = [name for name in self.labels if name not in step.labels]
        if missing:
            raise ConfigError(f"The networks have no property '{missing[0]}'.")
        parts = self.split(step.predictions.chunk(step.views)[0].float())
        losses = {
            target.name: self._loss(place, target, part, step.labels[target.name])
            for place, (target, part) in enumerate(zip(self.targets, parts, strict=True))
        }
        total = torch.stack(list(losses.values())).mean()
        several = {f"{self.name}/{name}": loss for name, loss in losses.items()} if len(losses) > 1 else {}
        return {self.name: total, **several}

    def split(self, predictions: Float[Tensor, "networks width"]) -> tuple[Tensor, ...]:
        """Cut the head's numbers into one piece per property."""
        return predictions.split([target.width for target in self.targets], dim=1)

    def answer(self, predictions: Float[Tensor, "networks width"]) -> Float[Tensor, "networks targets"]:
        """Turn the head's numbers into properties in their own units; classes are numbers of classes.

        Args:
            predictions: What the head gives.

        Returns:
            Float64, a column per property.
        """
        columns = []
        for place, (target, part) in enumerate(zip(self.targets, self.split(predictions), strict=True)):
            part = part.double()
            if target.kind == "class":
                columns.append(part.argmax(1).double())
            elif target.kind == "accuracy":
                columns.append(part[:, 0].sigmoid())
            else:
                columns.append(part[:, 0] * self.std[place].double() + self.mean[place].double())
        return torch.stack(columns, dim=1)

    def scores(
        self, predictions: Float[Tensor, "networks width"], labels: dict[str, Tensor]
    ) -> dict[str, float]:
        """Score predictions of all validation networks together, the mean over properties.

        Args:
            predictions: What the head gives.
            labels: Property name -> numbers, shape `(networks,)`.

        Returns:
            "kendall" (tau-b) over ordered properties and "accuracy" over classes, where there are any.
        """
        answers = self.answer(predictions)
        found: dict[str, list[float]] = {}
        for place, target in enumerate(self.targets):
            true = labels[target.name].double().to(answers.device)
            if target.kind == "class":
                found.setdefault("accuracy", []).append(float((answers[:, place] == true).double().mean()))
            else:
                found.setdefault("kendall", []).append(_tau(answers[:, place], true))
        return {name: sum(values) / len(values) for name, values in found.items()}

    def _loss(self, place: int, target: Target, part: Tensor, label: Tensor) -> Tensor:
        label = label.to(part.device)
        if target.kind == "class":
            return F.cross_entropy(part, label.long())
        if target.kind == "accuracy":
            return F.binary_cross_entropy_with_logits(part[:, 0], label.to(part.dtype).clamp(0, 1))
        wanted = (label.double() - self.mean[place]) / self.std[place]
        return F.mse_loss(part[:, 0], wanted.to(part.dtype))


def _tau(predicted: Tensor, true: Tensor) -> float:
    """Kendall's tau-b; 0 where one side is constant, which orders nothing."""
    from scipy.stats import kendalltau

    if bool((predicted == predicted[0]).all()) or bool((true == true[0]).all()):
        return 0.0
    return float(kendalltau(predicted.cpu().numpy(), true.cpu().numpy(), variant="b").statistic)
