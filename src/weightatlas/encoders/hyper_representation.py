"""Hyper-representations: a transformer autoencoder of whole networks with one global code."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.base import Autoencoder, Decoded, Encoded, encoders, one_code, with_variances
from weightatlas.encoders.blocks import Block
from weightatlas.encoders.linear import one_group, per_kind, token_kinds
from weightatlas.errors import SpecError
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.tokens import TokenConfig, detokenize, layout, tokenize


class HyperRepresentationConfig(Config):
    """Settings of the vector autoencoder; the defaults are small enough for two cores.

    Args:
        tokens: "neuron" makes a token of each neuron's incoming weights and bias, "weight" of each number.
        dim: Width of the transformer.
        layers: Blocks in the encoder, and again in the decoder.
        heads: Attention heads.
        hidden: Width inside the blocks' MLPs; none takes four times `dim`.
        latent: Numbers of the global code.
        compression: "token" reads the code from one additional token, "all" from all tokens together.
        bounded: End the encoder in tanh, so that codes lie between -1 and 1.
        normalize: Units of the structural error, per layer: "global_mean" and "layer_mean" divide by the
            standard deviation of the layer's weights over the training networks, and the second
            also gives every layer the same weight; "none" compares raw weights.
        dropout: Dropout probability.
    """

    tokens: Literal["neuron", "weight"] = "neuron"
    dim: int = 64
    layers: int = 2
    heads: int = 4
    hidden: int | None = Field(default=None, ge=1)
    latent: int = 128
    compression: Literal["token", "all"] = "all"
    bounded: bool = True
    normalize: Literal["global_mean", "layer_mean", "none"] = "global_mean"
    dropout: float = 0.0

    @model_validator(mode="after")
    def _fits(self) -> "HyperRepresentationConfig":
        if min(self.dim, self.layers, self.heads, self.latent) < 1 or not 0 <= self.dropout < 1:
            raise ValueError("sizes must be at least 1, dropout in [0, 1)")
        if self.dim % self.heads:
            raise ValueError(f"dim={self.dim} must be a multiple of heads={self.heads}")
        return self


@encoders.register("hyper_representation")
class HyperRepresentation(Autoencoder):
    """The hyper-representation autoencoder (Schürholt et al., NeurIPS 2021 and 2022).

    Every neuron becomes a token by a linear map of its layer; a transformer mixes tokens; a linear map
    takes them to one code of the whole network. The decoder mirrors this. Which terms train it makes the
    published variants: contrast alone (Ec), reconstruction alone (ED), both (EcD), and both with positive
    pairs only (Ec+D).

    Where errors have layer-wise units, so have the numbers the transformer sees. In the 2022 release
    only the loss is normalized; its first and last linear maps have to learn the same units.

    Args:
        config: Sizes and options.
        spec: Layout of the networks.
    """

    Settings: ClassVar[type[Config]] = HyperRepresentationConfig
    accepts = "one"
    name = "hyper_representation"
    sigma: Float[Tensor, " params"]
    share: Float[Tensor, " params"]
    kinds: Int[Tensor, " tokens"]
    config: HyperRepresentationConfig

    def __init__(self, config: HyperRepresentationConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        if spec is None:
            raise SpecError(f"The encoder '{self.name}' works on one layout: pass it as `spec`.")
        single = config.tokens == "weight"
        with torch.device("cpu"):  # Index maps are data, also where parameters are on the meta device.
            cutting = TokenConfig(width=1 if single else None)
            self.plan = layout(spec, cutting)  # pyright: ignore[reportArgumentType]
            kinds = token_kinds(self.plan)
        self.register_buffer("kinds", torch.zeros_like(kinds) if single else kinds, persistent=False)
        self.register_buffer("sigma", torch.ones(spec.params))
        self.register_buffer("share", torch.ones(spec.params), persistent=False)
        if config.normalize == "layer_mean":
            self.share.copy_(layer_shares(spec))
        count, tokens, width = int(self.kinds.max()) + 1, self.plan.tokens, self.plan.width
        more = int(config.compression == "token")
        self.into = nn.Parameter(0.02 * torch.randn(count, width, config.dim))
        self.back = nn.Parameter(0.02 * torch.randn(count, config.dim, width))
        self.center = nn.Parameter(torch.zeros(count, width))
        self.positions = nn.Parameter(0.02 * torch.randn(tokens + more, config.dim))
        self.places = nn.Parameter(0.02 * torch.randn(tokens, config.dim))
        self.encoder = _blocks(config)
        self.decoder = _blocks(config)
        self.compress = nn.Linear(config.dim * (1 if more else tokens), config.latent)
        self.expand = nn.Linear(config.latent, config.dim * tokens)

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Measure the spread of each layer's weights and biases over training networks."""
        if self.config.normalize == "none":
            return
        values, spec = one_group(self, batch).double(), batch.groups[0].spec
        for layer in spec.layers:
            places = [spec.slices[spec.tensors[index].name] for index in layer]
            spread = torch.cat([values[:, place] for place in places], dim=1).std(correction=0)
            for place in places:
                self.sigma[place] = spread.clamp_min(1e-4).to(self.sigma)

    def encode(self, weights: Weights) -> Encoded:
        """Code each network by `latent` numbers."""
        self.require(weights.spec)
        tokens = tokenize(weights.values / self.sigma, self.plan)
        x = per_kind(tokens - self.center[self.kinds], self.into, self.kinds)
        if self.config.compression == "token":
            x = torch.cat([x, x.new_zeros(len(x), 1, x.shape[2])], dim=1)
        x = self.encoder(x + self.positions)
        code = self.compress(x[:, -1] if self.config.compression == "token" else x.flatten(1))
        code = code.tanh() if self.config.bounded else code
        return one_code(code)

    def code_shape(self, spec: NetworkSpec) -> tuple[int, int]:
        """Return (1, latent): one global code."""
        self.require(spec)
        return 1, self.config.latent

    def decode(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Decoded:
        """Rebuild networks from their codes."""
        self.require(spec)
        x = self.expand(codes[:, 0]).unflatten(1, (self.plan.tokens, self.config.dim))
        x = self.decoder(x + self.places)
        tokens = per_kind(x, self.back, self.kinds) + self.center[self.kinds]
        return Decoded(with_variances(detokenize(tokens, self.plan) * self.sigma, spec))

    def scale(self, spec: NetworkSpec) -> Float[Tensor, " params"]:
        """Return the unit of each layer's errors: layer-wise loss normalization (NeurIPS 2022, section 3)."""
        return self.sigma * self.share


def layer_shares(spec: NetworkSpec) -> Float[Tensor, " params"]:
    """Return what errors are divided by so that their mean over parameters is a mean over layers.

    Args:
        spec: Layout of the networks.
    """
    share = torch.empty(spec.params)
    for layer in spec.layers:
        size = sum(spec.tensors[index].size for index in layer)
        for index in layer:
            share[spec.slices[spec.tensors[index].name]] = (size * len(spec.layers) / spec.params) ** 0.5
    return share


def _blocks(config: HyperRepresentationConfig) -> nn.Sequential:
    made = [Block(config.dim, config.heads, config.dropout, config.hidden) for _ in range(config.layers)]
    return nn.Sequential(*made)
