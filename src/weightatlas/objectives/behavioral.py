"""Behavioral loss: how differently rebuilt networks answer the same queries."""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import ConfigError
from weightatlas.objectives.step import Objective, Step

Variant = Literal["softmax_mse", "logits_mse", "cross_entropy", "distillation"]
Logits = Float[Tensor, "networks queries classes"]


def softmax_mse(outputs: Logits, targets: Logits, temperature: float) -> Float[Tensor, " networks"]:
    """Mean squared difference of probabilities: the released code's default."""
    difference = (outputs / temperature).softmax(-1) - (targets / temperature).softmax(-1)
    return difference.square().mean((1, 2))


def logits_mse(outputs: Logits, targets: Logits, temperature: float) -> Float[Tensor, " networks"]:
    """Half the squared distance of raw outputs: Eq. 1 of Meynent et al. (2025)."""
    return 0.5 * (outputs - targets).square().sum(-1).mean(1)


def cross_entropy(outputs: Logits, targets: Logits, temperature: float) -> Float[Tensor, " networks"]:
    """Cross-entropy against the original's probabilities (the released code passes logits instead)."""
    return -(targets.softmax(-1) * outputs.log_softmax(-1)).sum(-1).mean(1)


def distillation(outputs: Logits, targets: Logits, temperature: float) -> Float[Tensor, " networks"]:
    """Kullback-Leibler divergence at a temperature, times its square; logarithms on both sides."""
    ours, theirs = (outputs / temperature).log_softmax(-1), (targets / temperature).log_softmax(-1)
    return (theirs.exp() * (theirs - ours)).sum(-1).mean(1) * temperature**2


VARIANTS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "softmax_mse": softmax_mse,
    "logits_mse": logits_mse,
    "cross_entropy": cross_entropy,
    "distillation": distillation,
}


class Behavioral(Objective):
    """Difference between outputs of originals and rebuilt networks (Meynent et al., 2025, Eq. 1).

    Outputs of the originals come from the step: they do not change under permutation, so they are
    computed once for all views. Networks with non-finite outputs are left out and counted, and no
    gradient flows into them.

    Args:
        variant: What is compared.
        temperature: Divides outputs before the softmax (softmax_mse, distillation).
    """

    name: ClassVar[str] = "behavioral"
    needs_decoded: ClassVar[bool] = True
    needs_queries: ClassVar[bool] = True
    joins: ClassVar[Literal["mean", "embeddings"] | None] = "mean"

    def __init__(self, variant: Variant = "softmax_mse", temperature: float = 1.0) -> None:
        super().__init__()
        self.distance, self.temperature = VARIANTS[variant], temperature

    def forward(self, step: Step) -> dict[str, Float[Tensor, ""]]:
        """Execute the decoded networks and compare.

        Raises:
            ConfigError: The step has no decoded networks, queries, targets or population.
        """
        if step.decoded is None or step.queries is None or step.targets is None or step.population is None:
            raise ConfigError("The behavioral loss needs an autoencoder, a population and queries.")
        weights = _guarded(step.decoded.weights)
        # Small networks lose more by 16 bits than they gain in time.
        with torch.autocast(weights.device.type, enabled=False):
            outputs = step.population(_wide(weights), step.queries)
            targets = _wide(step.targets).repeat(step.views, 1, 1)
            good = torch.isfinite(outputs).flatten(1).all(1)
            outputs = torch.where(good[:, None, None], outputs, 0.0)
            each = self.distance(outputs, targets, self.temperature)
        mean = torch.where(good, each, 0.0).sum() / good.sum().clamp(min=1)
        return {self.name: mean, "dropped": (~good).sum().float()}


def _guarded(weights: Float[Tensor, "networks params"]) -> Float[Tensor, "networks params"]:
    """Return the weights such that networks with a non-finite gradient get none."""
    if not weights.requires_grad:
        return weights
    alias = weights.view_as(weights)
    alias.register_hook(lambda grad: torch.where(torch.isfinite(grad).all(1, keepdim=True), grad, 0.0))
    return alias


def _wide(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Bring 16-bit numbers to 32 bits."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
