"""SANE: a transformer autoencoder over weight tokens, one code per token."""

from copy import copy
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.config import Config
from weightatlas.encoders.base import Autoencoder, Decoded, Encoded, encoders, full_mask, with_variances
from weightatlas.encoders.blocks import Positions, Stack, check_positions
from weightatlas.encoders.linear import LinearPath, one_group, token_kinds, values_spec
from weightatlas.errors import SpecError
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.chunks import Windows, cut, join, windows
from weightatlas.weights.scaling import fit_scaling
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.tokens import TokenConfig, TokenLayout, detokenize, layout, tokenize


class SaneConfig(Config):
    """Settings of the SANE autoencoder; the defaults are small enough for two cores.

    Args:
        dim: Width of the transformer.
        layers: Blocks in the encoder, and again in the decoder.
        heads: Attention heads.
        latent: Numbers per code; every token has one code.
        token_width: Weights per token; none takes the longest row.
        mode: How weights are cut into tokens.
        max_positions: Tokens, layers and channels the position tables hold; none fits the layout.
        window: Tokens the transformer sees at once; none shows it whole networks.
        halo: Tokens of context on each side of a window when whole networks are processed.
        dropout: Dropout probability.
        skip: "pca" adds a linear path around both transformers, started at PCA, and starts the
            transformers silent, so that training begins at the best linear code; "none" is the
            published autoencoder.
    """

    dim: int = 96
    layers: int = 2
    heads: int = 4
    latent: int = 28
    token_width: int | None = Field(default=None, ge=1)
    mode: Literal["sparse", "dense"] = "sparse"
    max_positions: tuple[int, int, int] | None = None
    window: int | None = None
    halo: int = 0
    dropout: float = 0.0
    skip: Literal["pca", "none"] = "pca"

    @model_validator(mode="after")
    def _fits(self) -> "SaneConfig":
        sizes = (self.dim, self.layers, self.heads, self.latent, self.window or 1, self.token_width or 1)
        if min(sizes) < 1 or self.halo < 0 or not 0 <= self.dropout < 1:
            raise ValueError("sizes must be at least 1, halo at least 0, dropout in [0, 1)")
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(f"dim={self.dim} must be even and a multiple of heads={self.heads}")
        return self


@encoders.register("sane")
class Sane(Autoencoder):
    """The SANE autoencoder (Schürholt et al., 2024; Meynent et al., 2025, appendix B).

    Tokens -> linear -> + learned positions -> pre-norm transformer -> linear -> codes; the decoder
    mirrors it with the same positions. The embedding is the mean code. Tokens attend within their
    network only, so a network's code does not depend on its batch companions. Scaling is per
    tensor, inside the encoder, and is fitted by `adapt` together with the linear path.

    Example:
        >>> encoders.get("sane").Settings().latent
        28

    Args:
        config: Sizes and options.
        spec: Layout of the networks.
    """

    Settings: ClassVar[type[Config]] = SaneConfig
    accepts = "one"
    name = "sane"
    mean: Float[Tensor, " params"]
    std: Float[Tensor, " params"]
    place: Int[Tensor, "tokens 3"]
    config: SaneConfig

    def __init__(self, config: SaneConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        if spec is None:
            raise SpecError("The encoder 'sane' works on one layout: pass it as `spec`.")
        with torch.device("cpu"):  # Index maps are data, also where parameters are on the meta device.
            cutting = TokenConfig(width=config.token_width, mode=config.mode)
            self.plan = layout(spec, cutting)  # pyright: ignore[reportArgumentType]
            kinds = token_kinds(self.plan)
        tokens, width = self.plan.tokens, self.plan.width
        limits = config.max_positions or tuple((self.plan.positions.amax(0) + 1).tolist())
        check_positions(self.plan.positions, limits)
        self.windows = windows(tokens, min(config.window, tokens), config.halo) if config.window else None
        self.positions = Positions(config.dim, limits)
        sizes = (config.dim, config.layers, config.heads, config.dropout, config.skip == "pca")
        self.encoder = Stack(width, config.latent, *sizes)
        self.decoder = Stack(config.latent, width, *sizes)
        self.path = LinearPath(kinds, width, config.latent) if config.skip == "pca" else None
        self.register_buffer("place", self.plan.positions, persistent=False)
        self.register_buffer("mean", torch.zeros(spec.params))
        self.register_buffer("std", torch.ones(spec.params))

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Fit the scaling and start the linear path at PCA, on training networks."""
        values = one_group(self, batch).to(self.mean.device)
        scaling = fit_scaling(values, batch.groups[0].spec)
        self.mean.copy_(scaling.mean)
        self.std.copy_(scaling.std)
        if self.path is not None:
            self.path.fit(tokenize(scaling.apply(values), self._plan()))

    def encode(self, weights: Weights) -> Encoded:
        """Code every token of each network, in windows with halo if the encoder has windows."""
        return _encoded(self._code(self._tokens(weights), slice(None)))

    def code_shape(self, spec: NetworkSpec) -> tuple[int, int]:
        """Return (tokens, latent)."""
        self.require(spec)
        return self.plan.tokens, self.config.latent

    def decode(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Decoded:
        """Rebuild networks from the codes of all their tokens."""
        self.require(spec)
        if codes.shape[1:] != self.code_shape(spec):
            raise SpecError(f"Codes have shape {tuple(codes.shape[1:])}, expected {self.code_shape(spec)}.")
        return Decoded(self._weights(self._uncode(codes, slice(None))), self._aux())

    def decode_tokens(
        self, codes: Float[Tensor, "networks codes latent"]
    ) -> Float[Tensor, "networks tokens width"]:
        """Turn the codes of all tokens back into standardized tokens, padding included."""
        return self._uncode(codes, slice(None)).float()

    def forward(
        self, weights: Weights, *, whole: bool = True, generator: torch.Generator | None = None
    ) -> tuple[Encoded, Decoded]:
        """Encode and decode whole networks, or one random window of each (Schürholt et al., 2024).

        Args:
            weights: Networks.
            whole: Decode every token, although the encoder has windows.
            generator: Source of the window's place, one place for the batch.
        """
        if whole or self.config.window is None or self.config.window >= self.plan.tokens:
            return super().forward(weights)
        start = int(torch.randint(self.plan.tokens - self.config.window + 1, (), generator=generator))
        part = slice(start, start + self.config.window)
        codes = self._code(self._tokens(weights)[:, part], part)
        tokens = self._uncode(codes, part)
        spare = (part.start, self.plan.tokens - part.stop)
        rebuilt = self._weights(F.pad(tokens, (0, 0, *spare)))
        plan = self._plan()
        covered = (plan.inverse >= part.start * plan.width) & (plan.inverse < part.stop * plan.width)
        slots = torch.tensor(self.config.window * plan.width)
        return _encoded(codes), Decoded(rebuilt, {"covered": covered, "slots": slots})

    def windowed(self, size: int, halo: int = 0) -> "Sane":
        """Return the same encoder, its parameters shared, that works through networks in other windows.

        Args:
            size: Tokens each window owns.
            halo: Tokens of context on each side; windows of as many tokens as in training have
                `size + 2 * halo` equal to the encoder's own `window`.
        """
        other = copy(self)
        other.windows = windows(self.plan.tokens, min(size, self.plan.tokens), halo)
        return other

    def scale(self, spec: NetworkSpec) -> Float[Tensor, " params"]:
        """Return the unit in which structural errors are measured, per parameter."""
        self.require(spec)
        return self.std

    def _tokens(self, weights: Weights) -> Float[Tensor, "networks tokens width"]:
        self.require(weights.spec)
        return tokenize((weights.values - self.mean) / self.std, self._plan())

    def _weights(self, tokens: Float[Tensor, "networks tokens width"]) -> Float[Tensor, "networks params"]:
        # Under autocast tokens come out in 16 bits; weights are always 32 bits.
        weights = detokenize(tokens.float(), self._plan()) * self.std + self.mean
        return with_variances(weights, values_spec(self))

    def _code(
        self, tokens: Float[Tensor, "networks tokens width"], part: slice
    ) -> Float[Tensor, "networks tokens latent"]:
        codes = self._run(self.encoder, tokens, part)
        return codes if self.path is None else codes + self.path.encode(tokens, part.start or 0)

    def _uncode(
        self, codes: Float[Tensor, "networks tokens latent"], part: slice
    ) -> Float[Tensor, "networks tokens width"]:
        tokens = self._run(self.decoder, codes, part)
        return tokens if self.path is None else tokens + self.path.decode(codes, part.start or 0)

    def _run(
        self, stack: nn.Module, x: Float[Tensor, "networks tokens a"], part: slice
    ) -> Float[Tensor, "networks tokens b"]:
        """Send consecutive tokens through a transformer, whole networks window by window."""
        positions = self.positions(self.place[part])
        if self.windows is None or x.shape[1] < self.plan.tokens:
            return stack(x, positions)
        plan = Windows(*(getattr(self.windows, k).to(x.device) for k in ("index", "window", "place")))
        pieces = cut(x, plan)
        where = positions[plan.index].expand(len(x), -1, -1, -1).flatten(0, 1)
        done = stack(pieces.flatten(0, 1), where)
        return join(done.unflatten(0, pieces.shape[:2]), plan)

    def _plan(self) -> TokenLayout:
        """Return the index map, on the encoder's device."""
        if self.plan.slots.device != self.mean.device:
            self.plan = self.plan.to(self.mean.device)
        return self.plan

    def _aux(self) -> dict[str, Tensor]:
        return {"slots": torch.tensor(self.plan.slots.numel())}


def _encoded(codes: Float[Tensor, "networks tokens latent"]) -> Encoded:
    """Wrap codes; the embedding is their mean over all tokens, each of which holds real weights."""
    codes = codes.float()
    mask: Bool[Tensor, "networks tokens"] = full_mask(codes)
    return Encoded(codes, mask, codes.mean(1))
