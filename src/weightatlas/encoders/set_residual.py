"""Sets described by blocks that keep what came in: identity residuals, norms before, moments beside seeds."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.encoders.set_blocks import SetPooling, StackedSets
from weightatlas.errors import ConfigError

Set = Float[Tensor, "sets items dim"]
Mask = Bool[Tensor, "sets items"] | None
_EPS = 1e-6


class Pointwise(nn.Module):
    """`x + W2 gelu(W1 norm(x))`, every item by itself.

    Args:
        dim: Numbers per item.
        expand: Width of the hidden layer, in units of `dim`.
    """

    def __init__(self, dim: int, expand: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.enter = nn.Linear(dim, expand * dim)
        self.leave = nn.Linear(expand * dim, dim)

    def forward(self, x: Set, mask: Mask = None) -> Set:
        """Change every item; the mask takes no part."""
        return x + self.leave(F.gelu(self.enter(self.norm(x))))


class ResidualAttention(nn.Module):
    """Self-attention of a set with an identity residual and the norm before it, then a pointwise block.

    With `inducing` points, items attend to that many summaries of the set in place of each other (ISAB, Lee
    et al., 2019): the cost grows with the set's size, not with its square.

    Args:
        dim: Numbers per item.
        heads: Attention heads.
        inducing: Learned points that summarize a set, or none for full attention.
    """

    def __init__(self, dim: int, heads: int, inducing: int | None = None) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"dim={dim} is not a multiple of heads={heads}.")
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.both = nn.Linear(dim, 2 * dim, bias=False)
        self.leave = nn.Linear(dim, dim)
        self.points = None if inducing is None else nn.Parameter(torch.randn(1, inducing, dim))
        self.collect = None if inducing is None else nn.Linear(dim, 2 * dim, bias=False)
        self.pointwise = Pointwise(dim)

    def forward(self, x: Set, mask: Mask = None) -> Set:
        """Relate the items of each set; what is masked is never attended to."""
        normed = self.norm(x)
        seen = None if mask is None else mask[:, None, None, :]
        if self.points is not None and self.collect is not None:
            points = self.points.expand(len(x), -1, -1)
            normed_in, seen_in = normed, seen
            summary = self._read(points, self.collect(normed_in), seen_in)
            read = self._read(self.query(normed), self.both(points + summary), None)
        else:
            read = self._read(self.query(normed), self.both(normed), seen)
        return self.pointwise(x + self.leave(read))

    def _read(self, query: Tensor, both: Tensor, seen: Tensor | None) -> Tensor:
        parts = (query, *both.chunk(2, dim=-1))
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        return F.scaled_dot_product_attention(q, k, v, seen).transpose(1, 2).flatten(2)


class MomentPooling(nn.Module):
    """Attention pooling beside the mean and standard deviation of a set.

    Pooling by attention starts as a mean of what the items have in common; moments say from the start how a
    set differs from others.

    Args:
        dim: Numbers per item.
        heads: Attention heads.
        seeds: Seeds of the attention pooling.
        width: Numbers per set.
    """

    def __init__(self, dim: int, heads: int, seeds: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attend = SetPooling(dim, heads, seeds)
        self.leave = nn.Linear((2 + seeds) * dim, width)

    def forward(self, x: Set, mask: Mask = None) -> Float[Tensor, "sets width"]:
        """Describe each set by one vector."""
        real = torch.ones_like(x[..., :1]) if mask is None else mask[..., None].to(x.dtype)
        count = real.sum(1).clamp(min=1)
        mean = (x * real).sum(1) / count
        spread = (((x - mean[:, None]) * real).square().sum(1) / count + _EPS).sqrt()
        return self.leave(torch.cat([mean, spread, self.attend(self.norm(x), mask)], dim=1))


def _keep_size(module: nn.Module) -> None:
    """Start linear maps without bias and with unit gain.

    torch's default shrinks items to 0.6 and adds a bias that all sets share: behind a dozen maps that bias is
    nearly all that is left.
    """
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ResidualSetEncoder(StackedSets):
    """Describes sets as `SetEncoder` does, by blocks through which differences between sets survive.

    Args:
        dim: Numbers per item.
        heads: Attention heads.
        blocks: Blocks before positions are added, and again after.
        width_in: Numbers per incoming item; `dim` by default.
        seeds: Vectors of the attention pooling.
        pointwise: Items are not related before they are pooled.
        inducing: Points of the attention, or none.
        width: Numbers per set.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        blocks: int = 1,
        *,
        width_in: int | None = None,
        seeds: int = 1,
        pointwise: bool = False,
        inducing: int | None = None,
        width: int | None = None,
    ) -> None:
        enter, place = nn.Linear(width_in or dim, dim), nn.Linear(dim, dim, bias=False)

        def block() -> nn.Module:
            return Pointwise(dim) if pointwise else ResidualAttention(dim, heads, inducing)

        first, second = ([block() for _ in range(blocks)] for _ in range(2))
        super().__init__(first, second, MomentPooling(dim, heads, seeds, width or dim), enter, place)
        self.apply(_keep_size)


class MeanEncoder(nn.Module):
    """Describes a set by the mean of what is made of each item alone: what is left without set functions.

    Args:
        dim: Numbers per item.
        blocks: Pointwise blocks before positions are added, and again after.
        width_in: Numbers per incoming item; `dim` by default.
        width: Numbers per set; `dim` by default.
    """

    def __init__(
        self, dim: int, blocks: int = 1, width_in: int | None = None, width: int | None = None
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(width_in or dim, dim)
        self.first = nn.Sequential(*(Pointwise(dim) for _ in range(blocks)))
        self.second = nn.Sequential(*(Pointwise(dim) for _ in range(blocks)))
        self.leave = nn.Linear(dim, width or dim)
        self.apply(_keep_size)

    def forward(
        self,
        x: Float[Tensor, "sets items width_in"],
        mask: Mask = None,
        positions: Float[Tensor, "#sets #items dim"] | None = None,
    ) -> Float[Tensor, "sets width"]:
        """Describe each set by one vector; positions are added between the blocks."""
        x = self.first(self.enter(x))
        x = self.second(x if positions is None else x + positions)
        real = torch.ones_like(x[..., :1]) if mask is None else mask[..., None].to(x.dtype)
        return self.leave((x * real).sum(1) / real.sum(1).clamp(min=1))
