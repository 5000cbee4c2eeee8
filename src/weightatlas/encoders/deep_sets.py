"""DeepSets: a network as the set of its numbers."""

from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.base import Encoded, Encoder, encoders, one_code
from weightatlas.encoders.magnitudes import Magnitudes, described
from weightatlas.encoders.perceptron import perceptron
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec


class DeepSetsConfig(Config):
    """Settings of DeepSets.

    Args:
        width: Numbers per element, and of the embedding.
        layers: Layers before and after the mean.
        describe: Tell of each number its depth and kind; the published baseline sees bare numbers.
    """

    width: int = Field(default=128, ge=1)
    layers: int = Field(default=4, ge=1)
    describe: bool = True


@encoders.register("deep_sets")
class DeepSets(Encoder):
    """Perceptron on every number, mean, perceptron (Zaheer et al., 2017); any architecture.

    The mean forgets which numbers share a neuron: the encoder is invariant to hidden permutations, and to
    wrong ones inside a tensor too. With a linear head and `describe=False` it has 99K parameters, as
    published.

    Args:
        config: Sizes.
        spec: Takes no part.
    """

    Settings: ClassVar[type[Config]] = DeepSetsConfig
    accepts = "any"
    name = "deep_sets"

    def __init__(self, config: DeepSetsConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config)
        self.settings = config
        self.magnitudes = Magnitudes()
        wide = (config.width,) * config.layers
        self.first = nn.Linear(1 + DESCRIBED * config.describe, config.width)
        self.each = nn.Sequential(nn.ReLU(), *perceptron(wide, last=False))
        self.whole = perceptron((config.width, *wide[1:]))

    def adapt(self, batch: Batch) -> None:
        """Fit the scale of numbers."""
        self.magnitudes.adapt(batch)

    def encode(self, weights: Weights) -> Encoded:
        """Average what the perceptron says of each number."""
        values = self.magnitudes(weights.values, weights.spec)
        constant = self.first.bias
        if self.settings.describe:
            constant = constant + places(weights.spec).to(values) @ self.first.weight[:, 1:].T
        # The first layer is linear: what depends on the place alone is computed once, not per network.
        hidden = values[..., None] * self.first.weight[:, 0] + constant
        return one_code(self.whole(self.each(hidden).mean(1)))


DESCRIBED = 6


@lru_cache(maxsize=64)
def places(spec: NetworkSpec) -> Float[Tensor, "params described"]:
    """Say of each number its depth from the input and from the output, and its kind."""
    kinds, _ = described(spec)
    layer = torch.cat([torch.full((tensor.size,), tensor.layer) for tensor in spec.tensors])
    depth = layer / max(int(layer.max()), 1)
    kind = torch.nn.functional.one_hot(kinds, 4)
    return torch.cat([torch.stack([depth, 1 / (1 + layer)], dim=1), kind], dim=1).float()
