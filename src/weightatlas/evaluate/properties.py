"""Scores of predicted properties in the measures of their kind: errors of numbers, accuracy of classes."""

from contextlib import suppress
from typing import Any

from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.evaluate.ranking import rank
from weightatlas.predict.kinds import Scale
from weightatlas.predict.metrics import accuracy, mae, r2
from weightatlas.results import Record


def property_records(
    predicted: Float[Tensor, " networks"], true: Float[Tensor, " networks"], scale: Scale, **about: Any
) -> list[Record]:
    """Score predictions of one property as it is learned: R2, tau and error, or the accuracy over classes.

    Example:
        >>> import torch
        >>> given = dict(bench="b", tier="own", zoo="z", method="m")
        >>> lr = Scale(name="hp.lr", kind="log")
        >>> found = property_records(torch.tensor([-3.0, -2.0]), torch.tensor([-3.0, -2.0]), lr, **given)
        >>> [(record.metric, record.value) for record in found][0]
        ('log10 hp.lr R2', 1.0)

    Args:
        predicted: Numbers as they are learned; of classes their numbers.
        true: What was measured, likewise.
        scale: How the property is learned.
        about: Fields that all records share.

    Raises:
        DataError: A number is constant on these networks or not finite.
    """
    if scale.kind == "class":
        value = accuracy(predicted, true, scale.name)
        return [Record.build({**about, "metric": f"{scale.title} accuracy", "value": value, "n": len(true)})]
    return rank(predicted.cpu(), true.double().cpu(), scale.title).records(
        about["method"], scale.title, **{name: value for name, value in about.items() if name != "method"}
    )


def constant_records(
    train: Float[Tensor, " networks"], true: Float[Tensor, " others"], scale: Scale, **about: Any
) -> list[Record]:
    """Score what needs no look at a network: the most frequent class, or the mean of the training networks.

    Args:
        train: The property of the training networks, as it is learned.
        true: That of the networks to score.
        scale: How it is learned.
        about: Fields that all records share.
    """
    if scale.kind == "class":
        guess = train.double().mode().values.expand(len(true))
        return property_records(guess, true, scale, **about)
    guess = train.double().mean().cpu().expand(len(true))
    truth = true.double().cpu()
    numbers = {"Kendall tau": 0.0, "MAE": mae(guess, truth, scale.title)}
    with suppress(DataError):  # Of one value for all networks no share of variance is defined.
        numbers["R2"] = r2(guess, truth, scale.title)
    return [
        Record.build({**about, "metric": f"{scale.title} {name}", "value": value, "n": len(true)})
        for name, value in numbers.items()
    ]
