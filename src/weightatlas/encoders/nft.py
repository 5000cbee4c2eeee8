"""NFT: equivariant attention over weights ("Neural Functional Transformers", Zhou et al., 2023)."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.config import Config
from weightatlas.encoders.base import Encoded, encoders, full_mask
from weightatlas.encoders.equivariant import features_of, pool
from weightatlas.encoders.neural_functional import FunctionalConfig, FunctionalEncoder
from weightatlas.encoders.orbits import Layout
from weightatlas.errors import ConfigError
from weightatlas.weights.batch import Weights
from weightatlas.weights.spec import NetworkSpec


class NftConfig(FunctionalConfig):
    """Settings of the neural functional transformer.

    Args:
        dim: Channels per number inside.
        blocks: Attention blocks.
        heads: Attention heads; `dim` must be a multiple.
        widen: Hidden width of the feed-forward maps, in multiples of `dim`.
        dropout: Probability in attention and on both residual branches.
        latents: Codes of an INR2ARRAY latent, read from all numbers by cross-attention; 0 pools means.
    """

    dim: int = Field(default=256, ge=1)
    blocks: int = Field(default=4, ge=1)
    heads: int = Field(default=8, ge=1)
    widen: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    latents: int = Field(default=0, ge=0)
    pool: Literal["hnp", "np"] = "np"


class EquivariantAttention(nn.Module):
    """Attention that commutes with every permutation.

    The means of the blocks attend to each other; and for every slot of neurons, the rows, columns and
    vectors that run along it attend to each other as whole vectors over the slot, so that only their inner
    products, which ignore the order of the neurons, matter. Results go back to where the tokens came from.

    Args:
        layout: How the networks' spec is cut.
        dim: Channels per number.
        heads: Attention heads.
        dropout: Probability of dropping an attention weight.
    """

    def __init__(self, layout: Layout, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layout, self.dim, self.heads, self.dropout = layout, dim, heads, dropout
        self.qkv = nn.ModuleDict()
        self.back = nn.ModuleDict()
        for block in layout.blocks:
            features = block.features
            if str(features) in self.qkv:
                continue
            # Matrices without kernel taps share one projection; kernels of a size share theirs.
            self.qkv[str(features)] = nn.Linear(features * dim, 3 * dim)
            self.back[str(features)] = nn.Identity() if features == 1 else nn.Linear(dim, features * dim)

    def forward(self, values: list[Tensor]) -> list[Tensor]:
        """Mix the features of each network.

        Args:
            values: Per block `(networks, *sizes, features x dim)`.
        """
        blocks = self.layout.blocks
        qkv = [self.qkv[str(b.features)](value) for b, value in zip(blocks, values, strict=True)]
        results = self._between_blocks(qkv)
        for uses in self.layout.uses:
            self._along_slot(uses, qkv, results)
        return [self.back[str(b.features)](r) for b, r in zip(blocks, results, strict=True)]

    def _between_blocks(self, qkv: list[Tensor]) -> list[Tensor]:
        """Let the means of the blocks attend to each other, and spread the results over the blocks."""
        means = torch.stack([x.flatten(1, -2).mean(1) if x.ndim > 2 else x for x in qkv], dim=1)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in means.chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return [
            mixed[:, i].view(len(x), *[1] * (x.ndim - 2), self.dim).expand(*x.shape[:-1], self.dim)
            for i, x in enumerate(qkv)
        ]

    def _along_slot(
        self, uses: tuple[tuple[int, int], ...], qkv: list[Tensor], results: list[Tensor]
    ) -> None:
        """Let what runs along a slot attend to each other; add the results in place of the inputs."""
        tokens, shapes = [], []
        for b, axis in uses:
            moved = qkv[b].movedim(axis + 1, -2)
            shapes.append(moved.shape[1:-2])
            tokens.append(moved.reshape(len(moved), -1, *moved.shape[-2:]))
        joined = torch.cat(tokens, dim=1).unflatten(-1, (3, self.heads, -1))
        # networks, tokens, members, 3, heads, channels -> 3, networks, heads, tokens, members x channels
        query, key, value = joined.permute(3, 0, 4, 1, 2, 5).flatten(-2)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        mixed = mixed.unflatten(-1, (joined.shape[2], -1)).permute(0, 2, 3, 1, 4).flatten(-2)
        parts = mixed.split([token.shape[1] for token in tokens], dim=1)
        for (b, axis), part, shape in zip(uses, parts, shapes, strict=True):
            back = part.reshape(len(part), *shape, *part.shape[-2:]).movedim(-2, axis + 1)
            results[b] = results[b] + back


class NftBlock(nn.Module):
    """Pre-norm attention, then a pre-norm feed-forward map per block, each around a shortcut.

    Args:
        layout: How the networks' spec is cut.
        config: Settings.
    """

    def __init__(self, layout: Layout, config: NftConfig) -> None:
        super().__init__()
        widths = [block.features * config.dim for block in layout.blocks]
        self.norm_attention = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.norm_mlp = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.attention = EquivariantAttention(layout, config.dim, config.heads, config.dropout)
        self.mlp = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, config.widen * width),
                nn.GELU(),
                nn.Linear(config.widen * width, width),
                nn.Dropout(config.dropout),
            )
            for width in widths
        )
        self.drop = nn.Dropout(config.dropout)

    def forward(self, values: list[Tensor]) -> list[Tensor]:
        """Mix the features of each network."""
        normed = [norm(value) for norm, value in zip(self.norm_attention, values, strict=True)]
        mixed = self.attention(normed)
        values = [value + self.drop(more) for value, more in zip(values, mixed, strict=True)]
        steps = zip(self.mlp, self.norm_mlp, values, strict=True)
        return [value + mlp(norm(value)) for mlp, norm, value in steps]


@encoders.register("nft")
class Nft(FunctionalEncoder):
    """NFT: equivariant attention instead of linear maps; optionally the encoder of INR2ARRAY.

    Args:
        config: Settings.
        spec: Layout of the networks, with its permutation groups.
    """

    Settings: ClassVar[type[Config]] = NftConfig
    name = "nft"
    ends = True

    def __init__(self, config: NftConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        if config.dim % config.heads:
            raise ConfigError(f"dim={config.dim} is not a multiple of heads={config.heads}.")
        self.chosen = config
        self.enter = nn.Linear(self.channels, config.dim)
        # What a number is (which block), and who its input or output neuron is.
        self.kind = nn.ParameterList(
            nn.Parameter(0.02 * torch.randn(block.features * config.dim)) for block in self.layout.blocks
        )
        self.who = nn.ParameterDict(
            {
                str(slot): nn.Parameter(0.02 * torch.randn(size, config.dim))
                for slot, size in enumerate(self.layout.sizes)
                if slot >= self.layout.groups
            }
        )
        self.blocks = nn.ModuleList(NftBlock(self.layout, config) for _ in range(config.blocks))
        self.queries = nn.Parameter(torch.randn(config.latents, config.dim)) if config.latents else None

    def features(self, values: Float[Tensor, "networks params"]) -> list[Tensor]:
        """Compute the features of every number, block by block."""
        found = []
        for index, (block, x) in enumerate(zip(self.layout.blocks, self.inputs(values), strict=True)):
            x = self.enter(x.unflatten(-1, (block.features, -1))).flatten(-2) + self.kind[index]
            for axis, slot in enumerate(block.slots):
                if slot >= self.layout.groups:
                    vectors = self.who[str(slot)].repeat(1, block.features)
                    x = x + vectors.view(*[1] * axis, len(vectors), *[1] * (block.axes - 1 - axis), -1)
            found.append(x)
        for layer in self.blocks:
            found = layer(found)
        return found

    def describe(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks dim"]:
        """Compute the invariant embedding of networks."""
        if self.queries is not None:
            return self.latent(values).mean(1)
        x = features_of(self.features(values), self.layout)
        return pool(x, self.layout, self.chosen.dim, self.settings.pool == "hnp")

    def latent(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks latents dim"]:
        """Read all numbers by cross-attention with learned queries (INR2ARRAY)."""
        assert self.queries is not None
        numbers = torch.cat(
            [part.unflatten(-1, (-1, self.chosen.dim)).flatten(1, -2) for part in self.features(values)],
            dim=1,
        )[:, None]
        queries = self.queries.expand(len(values), 1, -1, -1)
        return F.scaled_dot_product_attention(queries, numbers, numbers)[:, 0]

    def encode(self, weights: Weights) -> Encoded:
        """Encode networks: one global code, or the latent array and its mean."""
        if self.queries is None:
            return super().encode(weights)
        self.require(weights.spec)
        codes = self.latent(weights.values)
        return Encoded(codes, full_mask(codes), codes.mean(1))
