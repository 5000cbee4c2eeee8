"""StatNN: layer statistics and a perceptron, for networks with the same list of layers."""

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
from weightatlas.weights.statistics import QUANTILES, layer_statistics


class StatNnConfig(Config):
    """Settings of StatNN.

    Args:
        hidden: Widths of the perceptron; the last is the embedding. (256, 128) is the published size for
            implicit representations (44K), (1000, 1000) that for CNNs (1.06M).
        dropout: Dropout probability after every layer.
    """

    hidden: tuple[int, ...] = (256, 128)
    dropout: float = Field(default=0.0, ge=0, lt=1)


@encoders.register("stat_nn")
class StatNn(Encoder):
    """Mean, standard deviation and quantiles of every tensor, then a perceptron (Unterthiner et al., 2020).

    Accepts all widths of one list of layers. The same features with boosted trees are
    `PropertyPredictor("layer_statistics", head="boosting")`.

    Args:
        config: Widths.
        spec: Any network of the family; its list of tensor roles counts.
    """

    Settings: ClassVar[type[Config]] = StatNnConfig
    accepts = "family"
    name = "stat_nn"
    mean: Float[Tensor, " features"]
    std: Float[Tensor, " features"]

    def __init__(self, config: StatNnConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        if spec is None:
            raise SpecError("The encoder 'stat_nn' works on one list of layers: pass a network's `spec`.")
        features = (2 + len(QUANTILES)) * len(spec.tensors)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.body = perceptron((features, *config.hidden), config.dropout)

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Fit mean and standard deviation of every statistic."""
        found = torch.cat([layer_statistics(group.values, group.spec) for group in batch]).double()
        std = found.std(0, correction=0)
        self.mean.copy_(found.mean(0))
        self.std.copy_(torch.where(std > 1e-8, std, 1.0))

    def encode(self, weights: Weights) -> Encoded:
        """Map statistics to the last layer's activations."""
        self.require(weights.spec)
        statistics = layer_statistics(weights.values, weights.spec)
        return one_code(self.body(torch.asinh((statistics - self.mean) / self.std)))

    def require(self, spec: NetworkSpec) -> None:
        """Refuse networks with another list of tensors.

        Raises:
            SpecError: The number or the roles of the tensors differ.
        """
        own = [] if self.spec is None else [tensor.role for tensor in self.spec.tensors]
        roles = [tensor.role for tensor in spec.tensors]
        if own != roles:
            raise SpecError(
                f"The encoder 'stat_nn' was made for {len(own)} tensors ({', '.join(own[:4])}, ...), these "
                f"networks have {len(roles)} ({', '.join(roles[:4])}, ...).",
                todo="Use an encoder that accepts any layout, for example deep_sets.",
            )
