"""What the permutation-equivariant encoders share: scaling, scalar features, pooling."""

import math
from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.base import Encoded, Encoder, one_code
from weightatlas.encoders.orbits import Layout, layout_of, orbit_scaling
from weightatlas.errors import DataError, SpecError
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.scaling import fit_scaling
from weightatlas.weights.spec import NetworkSpec


class FunctionalConfig(Config):
    """Settings that the equivariant encoders share.

    Args:
        normalize: "orbit" scales every set of numbers that permutations exchange by the mean and standard
            deviation of the training networks: each kernel tap, each input and output neuron by itself.
            "tensor" scales whole tensors, "none" leaves the numbers as they are.
        fourier: Gaussian Fourier frequencies per number; 0 feeds the number itself.
        fourier_scale: Standard deviation of the frequencies.
        bands: Frequencies of a sinusoidal code of layer, input and output index that is joined to every
            number; 0 joins none.
        max_frequency: Highest frequency of that code.
        pool: "hnp" keeps input and output neurons apart in the embedding, "np" averages over them too.
    """

    normalize: Literal["orbit", "tensor", "none"] = "orbit"
    fourier: int = Field(default=0, ge=0)
    fourier_scale: float = Field(default=3.0, gt=0)
    bands: int = Field(default=0, ge=0)
    max_frequency: float = Field(default=10.0, gt=0)
    pool: Literal["hnp", "np"] = "hnp"


class FunctionalEncoder(Encoder):
    """An encoder whose layers commute with the permutations of one traced spec.

    Args:
        config: Settings.
        spec: Layout of the networks, with its permutation groups.
    """

    accepts = "one"
    ends: ClassVar[bool] = False
    mean: Float[Tensor, " params"]
    std: Float[Tensor, " params"]
    order: Int[Tensor, " params"]
    frequencies: Float[Tensor, " fourier"]
    code: Float[Tensor, "params channels"]

    def __init__(self, config: FunctionalConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        if spec is None:
            raise SpecError(f"The encoder '{self.name}' works on one layout: pass it as `spec`.")
        self.settings = config
        self.layout: Layout = layout_of(spec, self.ends)
        self.register_buffer("mean", torch.zeros(spec.params))
        self.register_buffer("std", torch.ones(spec.params))
        self.register_buffer("order", self.layout.order, persistent=False)
        self.register_buffer("frequencies", torch.randn(config.fourier) * config.fourier_scale)
        self.register_buffer("code", sinusoids(self.layout.places, config), persistent=False)
        self.channels = (2 * config.fourier or 1) + self.code.shape[1]

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Fit the scaling on training networks."""
        if len(batch) == 0:
            raise DataError("There are no training networks.")
        for group in batch:
            self.require(group.spec)
        if self.spec is None or self.settings.normalize == "none":
            return
        values = torch.cat([group.values for group in batch])
        if self.settings.normalize == "orbit":
            mean, std = orbit_scaling(values, self.spec)
        else:
            scaling = fit_scaling(values, self.spec)
            mean, std = scaling.mean, scaling.std
        self.mean.copy_(mean)
        self.std.copy_(std)

    def inputs(self, values: Float[Tensor, "networks params"]) -> list[Tensor]:
        """Scale networks, cut them into blocks and give every number its first channels.

        Args:
            values: Networks as rows.

        Returns:
            Per block `(networks, *sizes, features x channels)`; features are the outer axis.
        """
        x = ((values - self.mean) / self.std).index_select(1, self.order)
        if self.channels > 1:
            x = x[:, :, None]
            if len(self.frequencies):
                angle = (2 * math.pi * x) * self.frequencies
                x = torch.cat([angle.sin(), angle.cos()], dim=-1)
            x = torch.cat([x, self.code.to(x).expand(len(x), -1, -1)], dim=-1)
            return [part.flatten(-2) for part in self.layout.split(x)]
        return self.layout.split(x)

    @abstractmethod
    def describe(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks dim"]:
        """Compute the invariant embedding of networks."""

    def encode(self, weights: Weights) -> Encoded:
        """Encode networks; the one global code is the embedding."""
        self.require(weights.spec)
        return one_code(self.describe(weights.values))


def sinusoids(
    places: Float[Tensor, "3 params"], config: FunctionalConfig
) -> Float[Tensor, "params channels"]:
    """Code layer, input and output index of every number as sines and cosines.

    The three codes are added, as in the released NFN code; that one writes the input code in place of the
    output code where the last layer is a convolution.
    """
    if not config.bands:
        return places.new_empty(places.shape[1], 0)
    scales = torch.linspace(1.0, config.max_frequency / 2, config.bands, device=places.device)
    angle = places[:, :, None] * scales * math.pi
    codes = torch.cat([angle.sin(), angle.cos(), places[:, :, None]], dim=-1)
    return codes.sum(0)
