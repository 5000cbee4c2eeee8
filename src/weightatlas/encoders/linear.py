"""Per-layer PCA of tokens: the linear baseline autoencoder, and SANE's linear path."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.base import Autoencoder, Decoded, Encoded, encoders, full_mask, with_variances
from weightatlas.errors import DataError, SpecError
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.scaling import fit_scaling
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.tokens import TokenConfig, TokenLayout, detokenize, layout, tokenize


def token_kinds(plan: TokenLayout) -> Int[Tensor, " tokens"]:
    """Number the tokens that hold the same columns of the same layer alike.

    One linear map serves each kind. Where a row needs several tokens, its first and its second
    hold different inputs, so they are different kinds; neurons of a layer share theirs, which
    keeps the map indifferent to their order.

    Args:
        plan: Index map of the tokens.
    """
    token, layer, channel = plan.positions.T
    row = layer * (int(channel.max()) + 1) + channel
    first = torch.full((int(row.max()) + 1,), len(token)).scatter_reduce(0, row, token, "amin")
    piece = token - first[row]
    return torch.unique(layer * (int(piece.max()) + 1) + piece, return_inverse=True)[1]


class LinearPath(nn.Module):
    """A linear code per token and back, one pair of maps per token kind, started at PCA.

    PCA is the best linear code, so training that starts here starts where an untrained
    transformer would arrive only after hours.

    Args:
        kinds: Kind of each token, from `token_kinds`.
        width: Numbers per token.
        latent: Numbers per code.
    """

    kinds: Int[Tensor, " tokens"]

    def __init__(self, kinds: Int[Tensor, " tokens"], width: int, latent: int) -> None:
        super().__init__()
        count = int(kinds.max()) + 1
        self.register_buffer("kinds", kinds, persistent=False)
        self.into = nn.Parameter(torch.zeros(count, width, latent))
        self.back = nn.Parameter(torch.zeros(count, latent, width))
        self.center = nn.Parameter(torch.zeros(count, width))

    @torch.no_grad()
    def fit(self, tokens: Float[Tensor, "networks tokens width"]) -> None:
        """Set the maps to the PCA of training tokens, kind by kind.

        Directions without variance (padding) stay zero: no code numbers are spent on them.

        Args:
            tokens: Standardized tokens of the training networks.
        """
        for kind in range(len(self.into)):
            rows = tokens[:, (self.kinds == kind).nonzero().squeeze(1)].flatten(0, 1).double()
            center = rows.mean(0)
            rows = rows - center
            spread, axes = torch.linalg.eigh(rows.T @ rows / len(rows))
            keep = min(self.into.shape[2], len(spread))
            spread, axes = spread.flip(0)[:keep], axes.flip(1)[:, :keep]
            # The sign of an eigenvector is arbitrary: fix it, so that machines agree.
            signs = axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
            axes = axes * signs * (spread > 1e-9 * spread[:1].clamp(min=1e-12))
            self.center[kind] = center.to(self.center.dtype)
            self.into[kind, :, :keep] = axes.to(self.into.dtype)
            self.back[kind, :keep] = axes.T.to(self.back.dtype)

    def encode(
        self, tokens: Float[Tensor, "networks tokens width"], start: int = 0
    ) -> Float[Tensor, "networks tokens latent"]:
        """Code tokens `start, start + 1, ...` of each network."""
        kinds = self.kinds[start : start + tokens.shape[1]]
        return per_kind(tokens - self.center[kinds], self.into, kinds)

    def decode(
        self, codes: Float[Tensor, "networks tokens latent"], start: int = 0
    ) -> Float[Tensor, "networks tokens width"]:
        """Turn codes of tokens `start, start + 1, ...` back into tokens."""
        kinds = self.kinds[start : start + codes.shape[1]]
        return per_kind(codes, self.back, kinds) + self.center[kinds]


def per_kind(
    x: Float[Tensor, "networks tokens a"], maps: Float[Tensor, "kinds a b"], kinds: Int[Tensor, " tokens"]
) -> Float[Tensor, "networks tokens b"]:
    """Multiply each token with the matrix of its kind: one matrix product per kind."""
    order = kinds.argsort(stable=True)
    sizes = torch.bincount(kinds, minlength=len(maps)).tolist()
    parts = x[:, order].split(sizes, dim=1)
    done = [part @ matrix for part, matrix in zip(parts, maps.unbind(0), strict=True)]
    return torch.cat(done, dim=1)[:, order.argsort()]


class PcaConfig(Config):
    """Settings of the linear baseline.

    Args:
        latent: Numbers per code (one code per token).
        token_width: Weights per token; none takes the longest row.
        mode: How weights are cut into tokens.
    """

    latent: int = Field(default=28, ge=1)
    token_width: int | None = Field(default=None, ge=1)
    mode: Literal["sparse", "dense"] = "sparse"


@encoders.register("pca")
class Pca(Autoencoder):
    """Per-layer PCA of tokens: the best linear autoencoder at a given code size, in closed form.

    The trivial baseline to print beside every reconstruction with the same code size.

    Args:
        config: Code size and tokens.
        spec: Layout of the networks.
    """

    Settings: ClassVar[type[Config]] = PcaConfig
    accepts = "one"
    name = "pca"
    closed_form = True
    mean: Float[Tensor, " params"]
    std: Float[Tensor, " params"]

    def __init__(self, config: PcaConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        if spec is None:
            raise SpecError("The encoder 'pca' works on one layout: pass it as `spec`.")
        tokens = TokenConfig(width=config.token_width, mode=config.mode)
        self.plan = layout(spec, tokens)  # pyright: ignore[reportArgumentType]
        # In closed form: trained by a loss it would no longer be PCA, nor the floor beside trained codes.
        self.path = LinearPath(token_kinds(self.plan), self.plan.width, config.latent).requires_grad_(False)
        self.register_buffer("mean", torch.zeros(spec.params))
        self.register_buffer("std", torch.ones(spec.params))

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Fit scaling and PCA on training networks; nothing is left to train."""
        values = one_group(self, batch)
        scaling = fit_scaling(values, values_spec(self))
        self.mean.copy_(scaling.mean)
        self.std.copy_(scaling.std)
        self.path.fit(tokenize(scaling.apply(values), self.plan))

    def encode(self, weights: Weights) -> Encoded:
        """Project the tokens of each network on the principal axes of their kind."""
        self.require(weights.spec)
        codes = self.path.encode(tokenize((weights.values - self.mean) / self.std, self.plan))
        return Encoded(codes, full_mask(codes), codes.mean(1))

    def code_shape(self, spec: NetworkSpec) -> tuple[int, int]:
        """Return (tokens, latent)."""
        self.require(spec)
        return self.plan.tokens, self.path.into.shape[2]

    def decode(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Decoded:
        """Rebuild networks from principal components."""
        self.require(spec)
        weights = detokenize(self.path.decode(codes), self.plan) * self.std + self.mean
        return Decoded(with_variances(weights, spec))

    def scale(self, spec: NetworkSpec) -> Float[Tensor, " params"]:
        """Return the unit in which structural errors are measured, per parameter."""
        self.require(spec)
        return self.std


def values_spec(encoder: Autoencoder) -> NetworkSpec:
    """Return the layout an encoder of one layout was made for."""
    if encoder.spec is None:
        raise SpecError(f"The encoder '{encoder.name}' was made without a layout.")
    return encoder.spec


def one_group(encoder: Autoencoder, batch: Batch) -> Float[Tensor, "networks params"]:
    """Return the weights of a batch that holds one layout.

    Raises:
        DataError: The batch is empty.
        SpecError: It holds several layouts, or another one than the encoder's.
    """
    if len(batch) == 0:
        raise DataError("There are no training networks.")
    for group in batch:
        encoder.require(group.spec)
    return torch.cat([group.values for group in batch])
