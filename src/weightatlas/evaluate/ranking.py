"""How well predicted properties order networks, and what choosing by them costs."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.predict.metrics import kendall, mae, r2
from weightatlas.results import Kind, Record


@dataclass(frozen=True, slots=True)
class Ranking:
    """Scores of predictions.

    Args:
        r2: Explained variance.
        kendall: Agreement of the orders, tau-b.
        mae: Mean absolute error.
        regret: True value lost by choosing the network predicted best instead of the best.
        overlap: Share of the true best `top` networks among those predicted best.
        top: How many that is.
        count: Networks.
    """

    r2: float
    kendall: float
    mae: float
    regret: float
    overlap: float
    top: int
    count: int

    def records(self, method: str, property: str, kind: Kind = "ours", **context: Any) -> list[Record]:
        """Write the scores as records, their names led by the property."""
        scores = {"R2": self.r2, "Kendall tau": self.kendall, "MAE": self.mae}
        about = {"method": method, "kind": kind, "n": self.count, **context}
        return [
            Record.build({**about, "metric": f"{property} {name}", "value": value})
            for name, value in scores.items()
        ]


def rank(
    predicted: Float[Tensor, " networks"],
    true: Float[Tensor, " networks"],
    name: str = "the property",
    share: float = 0.1,
) -> Ranking:
    """Score predictions of one property, higher being better.

    Example:
        >>> rank(torch.tensor([0.1, 0.9, 0.3]), torch.tensor([0.2, 0.8, 0.4])).regret
        0.0

    Args:
        predicted: Predictions.
        true: Measured values.
        name: Name of the property, for messages.
        share: Share of the networks that counts as best.

    Raises:
        DataError: The property is constant or not finite.
    """
    if not 0 < share <= 1:
        raise DataError(f"The share of best networks lies above 0 and at most at 1, not at {share:g}.")
    top = max(round(share * len(true)), 1)
    scores = r2(predicted, true, name), kendall(predicted, true, name), mae(predicted, true, name)
    chosen, best = predicted.topk(top).indices, true.topk(top).indices
    return Ranking(
        *scores,
        regret=float(true.max() - true[predicted.argmax()]),
        overlap=float(torch.isin(chosen, best).double().mean()),
        top=top,
        count=len(true),
    )
