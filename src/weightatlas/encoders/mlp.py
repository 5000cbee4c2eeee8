"""A perceptron over the flat weights: the plain baseline, for one layout."""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.base import Encoded, Encoder, encoders, one_code
from weightatlas.encoders.perceptron import perceptron
from weightatlas.errors import SpecError
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec


class MlpConfig(Config):
    """Settings of the perceptron.

    Args:
        hidden: Widths of its layers; the last is the embedding. (12, 12) is the published size for
            implicit representations (14K parameters with a linear head).
        dropout: Dropout probability after every layer.
    """

    hidden: tuple[int, ...] = (256, 128)
    dropout: float = Field(default=0.0, ge=0, lt=1)


@encoders.register("mlp")
class Mlp(Encoder):
    """Reads the flat vector, each number standardized over the training networks. It sees neuron order.

    Example:
        >>> from weightatlas.symmetry.verify import spec_of
        >>> spec = spec_of(torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.Linear(32, 1)), (1,))
        >>> Mlp(MlpConfig(hidden=(12, 12)), spec).config.hidden
        (12, 12)

    Args:
        config: Widths.
        spec: Layout of the networks.
    """

    Settings: ClassVar[type[Config]] = MlpConfig
    accepts = "one"
    name = "mlp"
    mean: Float[Tensor, " params"]
    std: Float[Tensor, " params"]

    def __init__(self, config: MlpConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        if spec is None:
            raise SpecError("The encoder 'mlp' works on one layout: pass it as `spec`.")
        self.register_buffer("mean", torch.zeros(spec.params))
        self.register_buffer("std", torch.ones(spec.params))
        self.body = perceptron((spec.params, *config.hidden), config.dropout)

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Fit mean and standard deviation of every number."""
        values = torch.cat([group.values for group in batch]).double()
        std = values.std(0, correction=0)
        self.mean.copy_(values.mean(0))
        self.std.copy_(torch.where(std > 1e-8, std, 1.0))

    def encode(self, weights: Weights) -> Encoded:
        """Map each network to the last layer's activations."""
        self.require(weights.spec)
        return one_code(self.body(torch.asinh((weights.values - self.mean) / self.std)))
