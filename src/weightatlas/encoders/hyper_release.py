"""The autoencoder of the 2022 hyper-representation release, layer for layer, for its checkpoints."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.config import Config
from weightatlas.encoders.base import Autoencoder, Decoded, Encoded, encoders, one_code, with_variances
from weightatlas.encoders.linear import token_kinds
from weightatlas.errors import SpecError
from weightatlas.weights.batch import Weights
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.tokens import detokenize, layout, tokenize


class HyperReleaseConfig(Config):
    """Settings of the released autoencoder.

    Args:
        dim: Width of the transformer.
        layers: Blocks in the encoder, and again in the decoder.
        heads: Attention heads.
        hidden: Width inside the blocks' feed-forward layers.
        latent: Numbers of the global code.
        normalize: Norms inside the blocks.
        compression: What the code is read from: all tokens, an additional first token, or their mean.
        decompression: Whether the code makes all tokens, or one that is repeated.
        bounded: End the encoder in tanh.
        dropout: Dropout probability.
    """

    dim: int = 64
    layers: int = 2
    heads: int = 4
    hidden: int = 128
    latent: int = 64
    normalize: bool = True
    compression: Literal["linear", "token", "average"] = "linear"
    decompression: Literal["linear", "repeat"] = "linear"
    bounded: bool = False
    dropout: float = 0.0

    @model_validator(mode="after")
    def _fits(self) -> "HyperReleaseConfig":
        if min(self.dim, self.layers, self.heads, self.hidden, self.latent) < 1 or not 0 <= self.dropout < 1:
            raise ValueError("sizes must be at least 1, dropout in [0, 1)")
        if self.dim % self.heads:
            raise ValueError(f"dim={self.dim} must be a multiple of heads={self.heads}")
        return self


class ReleaseNorm(nn.Module):
    """Layer norm over the standard deviation of a sample, as released (not over that of a population)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.alpha, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        spread = x.std(dim=-1, keepdim=True) + 1e-6
        return self.alpha * (x - x.mean(dim=-1, keepdim=True)) / spread + self.bias


class ReleaseBlock(nn.Module):
    """Pre-norm attention and ReLU layers, all with biases."""

    def __init__(self, config: HyperReleaseConfig) -> None:
        super().__init__()
        dim, self.heads, self.dropout = config.dim, config.heads, config.dropout
        self.norm_1 = ReleaseNorm(dim) if config.normalize else nn.Identity()
        self.norm_2 = ReleaseNorm(dim) if config.normalize else nn.Identity()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.out = nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, config.hidden), nn.Linear(config.hidden, dim)

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        inner = self.norm_1(x)
        parts = (part(inner).unflatten(2, (self.heads, -1)) for part in (self.query, self.key, self.value))
        query, key, value = (part.transpose(1, 2) for part in parts)
        drop = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=drop)
        x = x + self._drop(self.out(mixed.transpose(1, 2).flatten(2)))
        inner = self._drop(F.relu(self.up(self.norm_2(x))))
        return x + self._drop(self.down(inner))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


@encoders.register("hyper_release")
class HyperRelease(Autoencoder):
    """The autoencoder of the generative hyper-representations (Schürholt et al., 2022), as released.

    It differs from `hyper_representation` inside the blocks: norms over the sample's standard deviation with
    a shift, biases in attention, ReLU. `released.read_hyper_release` fills it from a released checkpoint.

    Args:
        config: Sizes and options.
        spec: Layout of the networks; weights and biases only.
    """

    Settings: ClassVar[type[Config]] = HyperReleaseConfig
    accepts = "one"
    name = "hyper_release"
    sigma: Float[Tensor, " params"]
    kinds: Int[Tensor, " tokens"]
    config: HyperReleaseConfig

    def __init__(self, config: HyperReleaseConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        if spec is None:
            raise SpecError(f"The encoder '{self.name}' works on one layout: pass it as `spec`.")
        with torch.device("cpu"):  # Index maps are data, also where parameters are on the meta device.
            self.plan = layout(spec)
            kinds = token_kinds(self.plan)
            count = int(kinds.max()) + 1
            self.widths = [int(self.plan.mask[kinds == kind].sum(1).max()) for kind in range(count)]
        self.register_buffer("kinds", kinds, persistent=False)
        self.register_buffer("sigma", torch.ones(spec.params))
        tokens, more = self.plan.tokens, int(config.compression == "token")
        self.into = nn.ModuleList(nn.Linear(width, config.dim) for width in self.widths)
        self.back = nn.ModuleList(nn.Linear(config.dim, width) for width in self.widths)
        self.first = nn.Parameter(torch.randn(1, 1, config.dim)) if more else None
        self.positions = nn.Parameter(torch.randn(tokens + more, config.dim))
        self.places = nn.Parameter(torch.randn(tokens, config.dim))
        self.encoder = nn.Sequential(*(ReleaseBlock(config) for _ in range(config.layers)))
        self.decoder = nn.Sequential(*(ReleaseBlock(config) for _ in range(config.layers)))
        entry = (tokens if config.compression == "linear" else 1) * config.dim
        self.compress = nn.Linear(entry, config.latent)
        self.expand = nn.Linear(
            config.latent, (tokens if config.decompression == "linear" else 1) * config.dim
        )

    def encode(self, weights: Weights) -> Encoded:
        """Code each network by `latent` numbers."""
        self.require(weights.spec)
        tokens = tokenize(weights.values / self.sigma, self.plan)
        layers = enumerate(zip(self.into, self.widths, strict=True))
        parts = [layer(tokens[:, self.kinds == kind, :width]) for kind, (layer, width) in layers]
        x = torch.cat(parts, dim=1)  # Layers follow one another, so that tokens stay in order.
        if self.first is not None:
            x = torch.cat([self.first.expand(len(x), -1, -1), x], dim=1)
        x = self.encoder(x + self.positions)
        reads = {"token": lambda: x[:, 0], "average": lambda: x.mean(1), "linear": lambda: x.flatten(1)}
        code = self.compress(reads[self.config.compression]())
        code = code.tanh() if self.config.bounded else code
        return one_code(code)

    def code_shape(self, spec: NetworkSpec) -> tuple[int, int]:
        """Return (1, latent): one global code."""
        self.require(spec)
        return 1, self.config.latent

    def decode(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Decoded:
        """Rebuild networks from their codes."""
        self.require(spec)
        x = self.expand(codes[:, 0]).unflatten(1, (-1, self.config.dim))
        x = self.decoder(x.expand(-1, self.plan.tokens, -1) + self.places)
        layers, room = enumerate(zip(self.back, self.widths, strict=True)), self.plan.width
        parts = [F.pad(layer(x[:, self.kinds == kind]), (0, room - w)) for kind, (layer, w) in layers]
        return Decoded(with_variances(detokenize(torch.cat(parts, dim=1), self.plan) * self.sigma, spec))

    def scale(self, spec: NetworkSpec) -> Float[Tensor, " params"]:
        """Return the unit of each layer's errors."""
        self.require(spec)
        return self.sigma
