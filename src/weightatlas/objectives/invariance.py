"""Invariance regularizer: a network and its permuted self should look the same."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import ConfigError
from weightatlas.objectives.step import Objective, Step

Place = Literal["logits", "embedding"]


def invariance_distance(
    first: Float[Tensor, "networks dim"], second: Float[Tensor, "networks dim"]
) -> Float[Tensor, " networks"]:
    """Half the squared distance of each network's two views (Moskalev et al., 2023).

    Example:
        >>> invariance_distance(torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]))
        tensor([5.])
    """
    return 0.5 * (first.float() - second.float()).square().sum(1)


class Invariance(Objective):
    """Logit-invariance regularizer `E 1/2 ||f(x) - f(g x)||^2` (SNE, section 3; Moskalev et al., 2023).

    `g` is drawn anew per network and step from the permutation groups of its spec; both views pass the
    encoder in one batch. Views without any permutation contribute zero.

    Args:
        on: Compare the head's numbers before any sigmoid ("logits") or the embeddings.
        tolerance: Distances up to this cost nothing (a hinge); 0 is the plain mean.
    """

    name: ClassVar[str] = "invariance"
    views: ClassVar[int] = 2
    mixes: ClassVar[bool] = True
    joins: ClassVar[Literal["mean", "embeddings"] | None] = "mean"

    def __init__(self, on: Place = "logits", tolerance: float = 0.0) -> None:
        super().__init__()
        self.on, self.tolerance = on, tolerance

    def forward(self, step: Step) -> dict[str, Float[Tensor, ""]]:
        """Compare the two views of each network.

        Raises:
            ConfigError: The step does not have two views, or no predictions to compare.
        """
        if step.views != 2:
            raise ConfigError(f"The invariance term needs two views per network, got {step.views}.")
        seen = step.encoded.embedding if self.on == "embedding" else step.predictions
        if seen is None:
            raise ConfigError("The invariance term compares logits, and there is no head.")
        distance = invariance_distance(*seen.chunk(2))
        return {self.name: torch.relu(distance - self.tolerance).mean()}
