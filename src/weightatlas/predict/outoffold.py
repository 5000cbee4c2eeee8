"""Out-of-fold predictions: of every network by a head that knew neither it nor a relative."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightatlas.predict.heads import Table
from weightatlas.predict.intervals import radius, rank_of, usual_size
from weightatlas.runtime import numpy_generator_of

FOLDS = 5


class Fitted(Protocol):
    """What is needed of a head."""

    def predict(self, features: Float[Tensor, "networks features"]) -> Float[Tensor, "networks targets"]: ...


Fit = Callable[[Table, Table | None], Fitted]
"""From training networks and those that choose to a head."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was predicted for networks that took no part in the prediction, training networks first.

    Args:
        predicted: Predictions, NaN for networks nothing can be said of, shape `(networks, targets)`.
        true: Their properties.
        fold: Which fold each network is in, -1 outside of all.
        heads: The head of every fold; none once it was read from disk.
    """

    predicted: Float[Tensor, "networks targets"]
    true: Float[Tensor, "networks targets"]
    fold: Int[Tensor, " networks"]
    heads: tuple[Fitted, ...] = ()

    @property
    def known(self) -> Bool[Tensor, " networks"]:
        """True where a network took no part in its prediction."""
        return torch.isfinite(self.predicted).all(1)

    @property
    def residuals(self) -> Float[Tensor, "known targets"]:
        """Errors of these predictions."""
        return (self.true - self.predicted)[self.known]

    def reach(
        self, center: Float[Tensor, "networks targets"], level: float
    ) -> Float[Tensor, "networks targets"]:
        """Half-widths of intervals around predictions: conformal, in units of errors at similar predictions.

        The unit of a known network's own error is that of others, of other folds where there are several.

        Args:
            center: Predictions for new networks.
            level: Wanted coverage.

        Raises:
            DataError: Too few networks are known.
        """
        errors, predicted, fold = self.residuals, self.predicted[self.known], self.fold[self.known]
        rank_of(len(errors), level)
        others = fold[:, None] != fold
        if not bool(others.any()):
            others = ~torch.eye(len(fold), dtype=torch.bool)
        columns = []
        for target in range(errors.shape[1]):
            known = errors[:, target], predicted[:, target]
            scores = errors[:, target] / usual_size(*known, at=known[1], strangers=others)
            columns.append(radius(scores[:, None], level) * usual_size(*known, at=center[:, target]))
        return torch.stack(columns, dim=1)


def folds_of(relatives: np.ndarray, folds: int = FOLDS) -> Int[Tensor, " networks"]:
    """Deal families out to folds at random, equally many to each.

    Example:
        >>> found = folds_of(np.array(["a", "b", "a", "c"]), folds=3)
        >>> bool(found[0] == found[2]), len(set(found.tolist()))
        (True, 3)

    Args:
        relatives: Family of each network, such as its lineage.
        folds: How many; fewer if there are fewer families.
    """
    names, inverse = np.unique(relatives, return_inverse=True)
    order = numpy_generator_of("folds", len(names)).permutation(len(names))
    return torch.from_numpy((order % max(1, min(folds, len(names))))[inverse])


def out_of_fold(
    fit: Fit,
    train: Table,
    validation: Table | None,
    relatives: np.ndarray,
    fold_train: bool = True,
    folds: int = FOLDS,
) -> Calibration | None:
    """Predict every network by a head that was fitted, and whose settings were chosen, without its fold.

    Args:
        fit: Fits a head on training networks and chooses its settings on others.
        train: Features and properties of the training networks.
        validation: Those of networks that choose, if there are any.
        relatives: Family of each network, training networks first; relatives share a fold.
        fold_train: False if features of training networks look unlike those of others, as the embeddings of
            an encoder trained on them do: then only the choice is repeated, and training networks get no
            prediction.
        folds: Number of folds.

    Returns:
        None if nothing can be predicted: too few families, or no network outside the training.
    """
    first = len(train[0]) if not fold_train else 0
    tables = [train] if validation is None else [train, validation]
    fold = torch.full((sum(len(table[0]) for table in tables),), -1)
    fold[first:] = folds_of(relatives[first:], folds) if len(fold) > first else fold[first:]
    count = int(fold.max()) + 1
    parts = list(fold.split([len(table[0]) for table in tables]))
    if count < 2 or min(int((parts[0] != place).sum()) for place in range(count)) < 2:
        return None
    features, true = (torch.cat(both) for both in zip(*tables, strict=True))
    predicted, heads = torch.full(true.shape, torch.nan, dtype=torch.float64), []
    for place in range(count):
        kept = [_rows(table, part != place) for table, part in zip(tables, parts, strict=True)]
        chosen_on = kept[1] if len(kept) > 1 and len(kept[1][0]) else None
        heads.append(fit(kept[0], chosen_on))
        predicted[fold == place] = heads[-1].predict(features[fold == place]).double().cpu()
    return Calibration(predicted, true, fold, tuple(heads))


def _rows(table: Table, keep: Bool[Tensor, " networks"]) -> Table:
    return table[0][keep], table[1][keep]
