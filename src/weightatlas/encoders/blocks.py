"""Transformer parts that several encoders share: blocks, stacks, learned positions."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.errors import ConfigError


class Block(nn.Module):
    """A pre-norm, non-causal GPT-2 block: attention over the tokens of one network, then an MLP.

    Padding slots inside a token are zero and whole padding tokens do not occur, so attention
    takes no mask. Tokens attend within their network only: the first axis is never mixed.

    Args:
        dim: Width of a token inside the transformer.
        heads: Attention heads; `dim` must be a multiple.
        dropout: Probability in attention and on both residual branches.
        hidden: Width inside the MLP; none takes four times `dim`.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0, hidden: int | None = None) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"dim={dim} is not a multiple of heads={heads}.")
        self.heads, self.dropout = heads, dropout
        self.norm_attention = nn.LayerNorm(dim, bias=False)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.project = nn.Linear(dim, dim, bias=False)
        self.norm_mlp = nn.LayerNorm(dim, bias=False)
        self.widen = nn.Linear(dim, hidden or 4 * dim, bias=False)
        self.narrow = nn.Linear(hidden or 4 * dim, dim, bias=False)

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        """Mix the tokens of each network."""
        x = x + self._drop(self.project(self._attend(self.norm_attention(x))))
        return x + self._drop(self.narrow(F.gelu(self.widen(self.norm_mlp(x)))))

    def _attend(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return mixed.transpose(1, 2).reshape(batch, tokens, dim)

    def _drop(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Stack(nn.Module):
    """Linear in, blocks, linear out; no final norm (SANE, Schürholt et al., 2024).

    Initialization as in GPT-2: N(0, 0.02), residual output projections N(0, 0.02 / sqrt(2 layers)).

    Args:
        width_in: Numbers per token that come in.
        width_out: Numbers per token that go out.
        dim: Width inside.
        layers: Number of blocks.
        heads: Attention heads.
        dropout: Dropout probability.
        silent: Start the last linear map at zero, so that the stack adds nothing at first.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        dim: int,
        layers: int,
        heads: int,
        dropout: float = 0.0,
        silent: bool = False,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.enter = nn.Linear(width_in, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(layers))
        self.leave = nn.Linear(dim, width_out)
        self._initialize(layers, silent)

    def _initialize(self, layers: int, silent: bool) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                continue
            residual = name.endswith(("project.weight", "narrow.weight"))
            nn.init.normal_(parameter, std=0.02 / (2 * layers) ** 0.5 if residual else 0.02)
        nn.init.zeros_(self.enter.bias)
        nn.init.zeros_(self.leave.bias)
        if silent:
            nn.init.zeros_(self.leave.weight)

    def forward(
        self, x: Float[Tensor, "batch tokens width_in"], positions: Float[Tensor, "*batch tokens dim"]
    ) -> Float[Tensor, "batch tokens width_out"]:
        """Map tokens to tokens.

        Args:
            x: Tokens of each network, or of each window.
            positions: Position vectors, shared by all networks or one set a window.
        """
        x = self.enter(x) + positions
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        return self.leave(x)


class Positions(nn.Module):
    """Learned position vectors of (token, layer, channel), concatenated as in SANE.

    Half of the numbers are the sum of a token and a layer embedding, the other half a
    channel embedding.

    Args:
        dim: Width of the vectors; even.
        limits: How many tokens, layers and channels the tables hold.
    """

    def __init__(self, dim: int, limits: tuple[int, int, int]) -> None:
        super().__init__()
        if dim % 2:
            raise ConfigError(f"dim={dim} must be even: half of it is for channel positions.")
        self.limits = limits
        self.token, self.layer, self.channel = (nn.Embedding(count, dim // 2) for count in limits)
        for table in (self.token, self.layer, self.channel):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, positions: Int[Tensor, "*batch tokens 3"]) -> Float[Tensor, "*batch tokens dim"]:
        """Look up position vectors.

        Args:
            positions: (token, layer, channel) of each token, zero-based.
        """
        token, layer, channel = positions.unbind(-1)
        return torch.cat([self.token(token) + self.layer(layer), self.channel(channel)], dim=-1)


def check_positions(positions: Int[Tensor, "tokens 3"], limits: tuple[int, int, int]) -> None:
    """Refuse networks that need more positions than the tables hold.

    Raises:
        ConfigError: A position is beyond its table; the released code would read out of range.
    """
    needed = (positions.amax(0) + 1).tolist()
    short = [
        f"{have} {name} positions, the networks need {need}"
        for name, have, need in zip(("token", "layer", "channel"), limits, needed, strict=True)
        if need > have
    ]
    if short:
        raise ConfigError(
            f"The encoder has {'; '.join(short)}.",
            todo=f"Set max_positions to at least {tuple(needed)}, or leave it out to fit the layout.",
        )
