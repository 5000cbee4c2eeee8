"""How well a property was predicted: R2, Kendall's tau-b, mean absolute error, accuracy of classes."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightatlas.errors import DataError

PAIRS = 512  # networks up to which tau counts all pairs


def r2(
    predicted: Float[Tensor, " networks"], true: Float[Tensor, " networks"], name: str = "the property"
) -> float:
    """Share of the property's variance that the prediction explains; 0 for the constant mean.

    Example:
        >>> r2(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 3.0]))
        1.0

    Args:
        predicted: Predictions, shape `(networks,)`.
        true: Measured values, shape `(networks,)`.
        name: Name of the property, for messages.

    Raises:
        DataError: The property is constant, not finite, or has another length.
    """
    predicted, true = _checked(predicted, true, name)
    residual = (true - predicted).square().sum()
    return float(1 - residual / (true - true.mean()).square().sum())


def kendall(
    predicted: Float[Tensor, " networks"], true: Float[Tensor, " networks"], name: str = "the property"
) -> float:
    """Kendall's tau-b: how well two orders agree, ties counted; a constant prediction gets 0.

    Args:
        predicted: Predictions, shape `(networks,)`.
        true: Measured values, shape `(networks,)`.
        name: Name of the property, for messages.

    Raises:
        DataError: The property is constant, not finite, or has another length.
    """
    predicted, true = _checked(predicted, true, name)
    if bool((predicted == predicted[0]).all()):
        return 0.0
    if len(true) <= PAIRS:
        # All pairs at once are several times faster than sorting, which bootstraps feel.
        first, second = (x[:, None].sub(x).sign() for x in (predicted, true))
        pairs = first.abs().sum() * second.abs().sum()
        return float((first * second).sum() / pairs.sqrt())
    from scipy.stats import kendalltau

    return float(kendalltau(predicted.cpu().numpy(), true.cpu().numpy(), variant="b").statistic)


def above_chance(
    accuracy: Float[Tensor, " networks"], classes: int, factor: float = 1.5
) -> Bool[Tensor, " networks"]:
    """Mark networks that learned something: more than `factor` times the accuracy of guessing.

    Many networks of a random search sit at chance level, where their order is noise.

    Example:
        >>> above_chance(torch.tensor([0.1, 0.14, 0.2]), classes=10).tolist()
        [False, False, True]
    """
    return accuracy > factor / classes


def mae(
    predicted: Float[Tensor, " networks"], true: Float[Tensor, " networks"], name: str = "the property"
) -> float:
    """Mean absolute error.

    Raises:
        DataError: A value is not finite, or the lengths differ.
    """
    predicted, true = _checked(predicted, true, name, constant=True)
    return float((predicted - true).abs().mean())


def accuracy(
    predicted: Float[Tensor, " networks"], true: Float[Tensor, " networks"], name: str = "the property"
) -> float:
    """Share of networks whose class was named; a class that was unknown in training (-1) is never right.

    Example:
        >>> accuracy(torch.tensor([0.0, 1.0, 1.0, 0.0]), torch.tensor([0.0, 1.0, 0.0, -1.0]))
        0.5

    Raises:
        DataError: A value is not finite, or the lengths differ.
    """
    predicted, true = _checked(predicted, true, name, constant=True)
    return float(((predicted == true) & (true >= 0)).double().mean())


def _checked(predicted: Tensor, true: Tensor, name: str, constant: bool = False) -> tuple[Tensor, Tensor]:
    """Refuse values that no score is defined on; return both in float64."""
    predicted, true = predicted.detach().double().flatten(), true.detach().double().flatten()
    if len(predicted) != len(true) or not len(true):
        raise DataError(f"There are {len(predicted)} predictions for {len(true)} values of {name}.")
    bad = int((~torch.isfinite(true)).sum()) + int((~torch.isfinite(predicted)).sum())
    if bad:
        raise DataError(
            f"{bad} values of {name} or of its predictions are NaN or infinite.",
            todo="Leave out networks whose training diverged.",
        )
    if not constant and bool((true == true[0]).all()):
        raise DataError(
            f"{name[0].upper()}{name[1:]} is {float(true[0]):g} for all {len(true)} networks; "
            "no score of a prediction is defined.",
            todo="Predict a property that varies, or score on more networks.",
        )
    return predicted, true
