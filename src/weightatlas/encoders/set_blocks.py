"""Attention over sets: blocks of the Set Transformer as SNE uses them, without layer norm."""

from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.errors import ConfigError

Set = Float[Tensor, "sets items dim"]
Mask = Bool[Tensor, "sets items"] | None


class SetAttention(nn.Module):
    """SAB: every item attends to all items of its set (Lee et al., 2019).

    `O = Q + softmax(Q K^T / sqrt(dim)) V`, then `O + relu(O W)`. As in the published code, the residual adds
    the projected queries, the scale is the full width's also with several heads, and one linear map is
    the feed-forward layer. Keys have no bias: it cancels in the softmax.

    Args:
        dim: Numbers per item.
        heads: Attention heads.
        width_in: Numbers per incoming item; `dim` by default. With 1, items are scalars, and attention
            is computed on scalars: the same values, several times faster.
    """

    def __init__(self, dim: int, heads: int, width_in: int | None = None) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"dim={dim} is not a multiple of heads={heads}.")
        self.dim, self.heads = dim, heads
        self.width_in = dim if width_in is None else width_in
        self.query = nn.Linear(self.width_in, dim)
        self.key = nn.Linear(self.width_in, dim, bias=False)
        self.value = nn.Linear(self.width_in, dim)
        self.mix = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "sets items width_in"], mask: Mask = None) -> Set:
        """Relate the items of each set; what is masked is never attended to.

        Args:
            x: Items.
            mask: True where an item is real, or none if all are.
        """
        seen = None if mask is None else mask[:, None, None, :]
        out = self._of_scalars(x, seen) if self.width_in == 1 else self._of_vectors(x, seen)
        return out + F.relu(self.mix(out))

    def _of_vectors(self, x: Set, seen: Tensor | None) -> Set:
        sets, items, dim = len(x), x.shape[1], self.dim
        bias = torch.cat([self.query.bias, torch.zeros_like(self.query.bias), self.value.bias])
        weight = torch.cat([self.query.weight, self.key.weight, self.value.weight])
        query, key, value = F.linear(x, weight, bias).split(dim, dim=-1)
        q, k, v = (part.view(sets, items, self.heads, -1).transpose(1, 2) for part in (query, key, value))
        read = F.scaled_dot_product_attention(q, k, v, seen, scale=dim**-0.5)
        return query + read.transpose(1, 2).reshape(sets, items, dim)

    def _of_scalars(self, x: Float[Tensor, "sets items 1"], seen: Tensor | None) -> Set:
        """Attend with scalars for keys and values.

        With `q = x w + b` and `k = x u`, the score of items i, j is `(w.u x_i + b.u) x_j`, and values are
        linear in `x_j`: only the mean of `x_j` under the weights is needed, per head.
        """
        weight, bias, key = self.query.weight[:, 0], self.query.bias, self.key.weight[:, 0]
        slope = (weight * key).view(self.heads, -1).sum(1)
        level = (bias * key).view(self.heads, -1).sum(1)
        query = (x * slope + level).transpose(1, 2)[..., None]
        scalar = x.transpose(1, 2)[..., None].expand(-1, self.heads, -1, -1)
        read = F.scaled_dot_product_attention(query, scalar, scalar, seen, scale=self.dim**-0.5)
        read = read[..., 0].transpose(1, 2)[..., None]
        value = (read * self.value.weight[:, 0].view(self.heads, -1)).flatten(2) + self.value.bias
        return self.query(x) + value


class SetPooling(nn.Module):
    """PMA: learned seeds attend to a set and become its description (Lee et al., 2019).

    Keys and values are never formed: a seed's scores are a linear map of the items, and the values of
    a weighted mean are the weighted mean's values.

    Args:
        dim: Numbers per item.
        heads: Attention heads.
        seeds: Vectors per set; their concatenation is the result.
    """

    def __init__(self, dim: int, heads: int, seeds: int = 1) -> None:
        super().__init__()
        self.dim, self.heads = dim, heads
        self.seeds = nn.Parameter(torch.empty(1, seeds, dim))
        nn.init.xavier_uniform_(self.seeds)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim)
        self.mix = nn.Linear(dim, dim)

    def forward(self, x: Set, mask: Mask = None) -> Float[Tensor, "sets width"]:
        """Describe each set by one vector.

        Args:
            x: Items.
            mask: True where an item is real, or none if all are.
        """
        query = self.query(self.seeds[0])
        split = query.view(len(query), self.heads, -1)
        probe = torch.einsum("shd,hdw->shw", split, self.key.weight.view(self.heads, -1, self.dim))
        scores = x @ probe.flatten(0, 1).T * self.dim**-0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[..., None], -torch.inf)
        mean = scores.softmax(1).transpose(1, 2) @ x
        mean = mean.view(len(x), len(query), self.heads, self.dim)
        value = torch.einsum("nshw,hdw->nshd", mean, self.value.weight.view(self.heads, -1, self.dim))
        out = query + value.flatten(2) + self.value.bias
        return (out + F.relu(self.mix(out))).flatten(1)


class StackedSets(nn.Module):
    """Two stacks of blocks with positions added between them, then pooling; a subclass says of what.

    Args:
        first: Blocks before positions are added: items and mask to items.
        second: Blocks after.
        pool: Items and mask to one vector a set.
        enter: What is done to items first.
        place: What is done to positions.
    """

    def __init__(
        self,
        first: Iterable[nn.Module],
        second: Iterable[nn.Module],
        pool: nn.Module,
        enter: nn.Module | None = None,
        place: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.enter, self.place = enter or nn.Identity(), place or nn.Identity()
        self.first, self.second = nn.ModuleList(first), nn.ModuleList(second)
        self.pool = pool

    def forward(
        self,
        x: Float[Tensor, "sets items width_in"],
        mask: Mask = None,
        positions: Float[Tensor, "#sets #items dim"] | None = None,
    ) -> Float[Tensor, "sets width"]:
        """Describe each set by one vector.

        Args:
            x: Items.
            mask: True where an item is real, or none if all are.
            positions: Added between the stacks.
        """
        x = self.enter(x)
        for block in self.first:
            x = block(x, mask)
        if positions is not None:
            x = x + self.place(positions)
        for block in self.second:
            x = block(x, mask)
        return self.pool(x, mask)


class SetEncoder(StackedSets):
    """Two stacks of set attention with positions added between them, then pooling.

    Args:
        dim: Numbers per item.
        heads: Attention heads.
        blocks: Set attention blocks per stack.
        width_in: Numbers per incoming item; `dim` by default.
        seeds: Vectors per set.
        stacks: 2, or 1 for a single stack before the positions.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        blocks: int = 2,
        width_in: int | None = None,
        seeds: int = 1,
        stacks: int = 2,
    ) -> None:
        first = [SetAttention(dim, heads, width_in), *(SetAttention(dim, heads) for _ in range(blocks - 1))]
        second = [SetAttention(dim, heads) for _ in range(blocks if stacks > 1 else 0)]
        super().__init__(first, second, SetPooling(dim, heads, seeds))
