"""Structural loss: how far rebuilt weights are from the originals."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.encoders.base import Autoencoder
from weightatlas.errors import ConfigError
from weightatlas.objectives.step import Objective, Step


class Structural(Objective):
    """Mean squared error over real weights, in the encoder's normalized units.

    Meynent et al. (2025), section 3: S = 1/(2k) sum ||delta theta||^2 up to a constant. Padding is
    never counted.

    Args:
        diluted: Divide by all token slots, padding included, as the released code does. It scales
            the term down by the share of real weights, about 2.5 times for CNN3.
    """

    name: ClassVar[str] = "structural"
    needs_decoded: ClassVar[bool] = True
    joins: ClassVar[Literal["mean", "embeddings"] | None] = "mean"

    def __init__(self, diluted: bool = False) -> None:
        super().__init__()
        self.diluted = diluted

    def forward(self, step: Step) -> dict[str, Float[Tensor, ""]]:
        """Compare decoded with original weights.

        Raises:
            ConfigError: Nothing was decoded, or the encoder has no slots to dilute over.
        """
        if step.decoded is None or not isinstance(step.encoder, Autoencoder):
            raise ConfigError("The structural loss needs an autoencoder.")
        original, rebuilt = step.weights.values, step.decoded.weights
        errors = ((rebuilt - original) / step.encoder.scale(step.weights.spec)).square()
        covered = step.decoded.aux.get("covered")
        total = errors.sum() if covered is None else torch.where(covered, errors, 0.0).sum()
        count = rebuilt.shape[1] if covered is None else covered.sum()
        if self.diluted:
            if "slots" not in step.decoded.aux:
                raise ConfigError(f"The encoder '{step.encoder.name}' has no token slots to dilute over.")
            count = step.decoded.aux["slots"].to(errors.device)
        return {self.name: total / (len(rebuilt) * count)}
