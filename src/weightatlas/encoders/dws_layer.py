"""One layer of DWSNet (Navon et al., 2023): every block of a perceptron's weights talks to every other.

The paper lays out four L x L grids of maps (weights and biases to weights and biases). Which map it is
depends on what two blocks share: a slot of hidden neurons (a map of sets over these neurons), nothing (pool
everything, one linear map, broadcast), or they are the same inner weight (a map of exchangeable matrices).
Sources are pooled once and joined per target, so a layer takes a number of products that grows with the
depth, not with its square.
"""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.encoders.orbits import Layout
from weightatlas.errors import ConfigError

Reduction = Literal["max", "mean", "sum"]
SetKind = Literal["sab", "ds"]


def reduce(x: Tensor, axes: Sequence[int], how: Reduction) -> Tensor:
    """Pool some axes."""
    if not axes:
        return x
    return {"max": torch.amax, "mean": torch.mean, "sum": torch.sum}[how](x, dim=list(axes))


class SetMap(nn.Module):
    """A linear map of sets: each member by itself, less the pool of all (Zaheer et al., 2017).

    Args:
        width_in: Numbers per member that come in.
        width_out: Numbers per member that go out.
        reduction: How members are pooled.
    """

    def __init__(self, width_in: int, width_out: int, reduction: Reduction) -> None:
        super().__init__()
        self.each, self.all = nn.Linear(width_in, width_out), nn.Linear(width_in, width_out, bias=False)
        self.reduction: Reduction = reduction

    def forward(
        self, x: Float[Tensor, "networks members width_in"]
    ) -> Float[Tensor, "networks members width_out"]:
        """Map a set to a set."""
        return self.each(x) - self.all(reduce(x, [1], self.reduction))[:, None]


class SetAttention(nn.Module):
    """Self-attention of a set, as in the Set Transformer without norms (Lee et al., 2019).

    The shortcut carries the projected queries and the scale is the root of the whole width.

    Args:
        width_in: Numbers per member that come in.
        width_out: Numbers per member that go out.
        heads: Attention heads.
    """

    def __init__(self, width_in: int, width_out: int, heads: int) -> None:
        super().__init__()
        if width_out % heads:
            raise ConfigError(f"A set layer of width {width_out} cannot have {heads} heads.")
        self.heads = heads
        self.qkv = nn.Linear(width_in, 3 * width_out)
        self.out = nn.Linear(width_out, width_out)

    def forward(
        self, x: Float[Tensor, "networks members width_in"]
    ) -> Float[Tensor, "networks members width_out"]:
        """Map a set to a set."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scale = 1 / math.sqrt(self.out.in_features)
        mixed = query + F.scaled_dot_product_attention(query, key, value, scale=scale)
        mixed = mixed.transpose(1, 2).flatten(2)
        return mixed + F.relu(self.out(mixed))


class DwsLayer(nn.Module):
    """All maps between the blocks of a perceptron, divided by the number of blocks.

    Args:
        layout: How the spec is cut; blocks have at most two permuted axes.
        layers: Layer of each block.
        width_in: Channels per number that come in.
        width_out: Channels per number that go out.
        kind: "sab" for attention between neurons, "ds" for linear maps of sets.
        reduction: How axes are pooled.
        heads: Attention heads.
        diagonal: Leave out the maps between blocks that share no neurons.
    """

    def __init__(
        self,
        layout: Layout,
        layers: tuple[int, ...],
        width_in: int,
        width_out: int,
        kind: SetKind = "sab",
        reduction: Reduction = "max",
        heads: int = 8,
        diagonal: bool = False,
    ) -> None:
        super().__init__()
        self.layout, self.kind = layout, kind
        self.reduction: Reduction = reduction
        sizes_in = [block.features * width_in for block in layout.blocks]
        sizes_out = [block.features * width_out for block in layout.blocks]
        self.near = {
            (t, axis): [(s, a) for s, a in layout.uses[slot] if s != t or layout.blocks[t].axes == 1]
            for t, block in enumerate(layout.blocks)
            for axis, slot in enumerate(block.slots)
        }
        self.far = [_strangers(layout, layers, t, diagonal) for t in range(len(layout.blocks))]
        self.sets = nn.ModuleDict()
        for (t, axis), sources in self.near.items():
            widths = [sizes_in[s] for s, _ in sources]
            if kind == "sab":
                maps = [SetAttention(width, sizes_out[t], heads) for width in widths]
            else:
                maps = [SetMap(sum(widths), sizes_out[t], reduction)]
            self.sets[f"{t}_{axis}"] = nn.ModuleList(maps)
        self.spread = nn.ModuleDict(
            {
                str(t): nn.Linear(sum(sizes_in[s] for s in far), sizes_out[t])
                for t, far in enumerate(self.far)
                if far
            }
        )
        # Same inner weight: itself, its row, its column, all of it.
        self.matrix = nn.ModuleDict(
            {
                str(t): nn.ModuleList(nn.Linear(sizes_in[t], sizes_out[t]) for _ in range(4))
                for t, block in enumerate(layout.blocks)
                if block.axes == 2
            }
        )
        self.apply(_initialize)

    def forward(self, values: list[Tensor]) -> list[Tensor]:
        """Map features to features.

        Args:
            values: Per block `(networks, *sizes, features x width_in)`.
        """
        lines = {
            (b, axis): reduce(value, [a + 1 for a in range(value.ndim - 2) if a != axis], self.reduction)
            for b, value in enumerate(values)
            for axis in range(value.ndim - 2)
        }
        wholes = [
            reduce(lines[b, 0], [1], self.reduction) if value.ndim > 2 else value
            for b, value in enumerate(values)
        ]
        found = []
        for t, value in enumerate(values):
            parts = [self._from_neighbors(t, axis, lines) for axis in range(value.ndim - 2)]
            if value.ndim == 4:
                parts = [parts[0].unsqueeze(2), parts[1].unsqueeze(1)]
                parts.append(self._from_itself(t, value, lines, wholes[t]))
            if self.far[t]:
                far = self.spread[str(t)](torch.cat([wholes[s] for s in self.far[t]], dim=-1))
                parts.append(far.view(len(value), *[1] * (value.ndim - 2), -1))
            found.append(functools.reduce(torch.add, parts) / len(values))
        return found

    def _from_neighbors(self, t: int, axis: int, lines: dict[tuple[int, int], Tensor]) -> Tensor:
        """Sum the maps of all blocks that share the neurons of an axis."""
        sources = [lines[source] for source in self.near[t, axis]]
        maps = self.sets[f"{t}_{axis}"]
        assert isinstance(maps, nn.ModuleList)
        if self.kind == "ds":
            return maps[0](torch.cat(sources, dim=-1))
        parts = [one(source) for one, source in zip(maps, sources, strict=True)]
        return torch.stack(parts).sum(0)

    def _from_itself(
        self, t: int, value: Tensor, lines: dict[tuple[int, int], Tensor], whole: Tensor
    ) -> Tensor:
        """Map an inner weight to itself as an exchangeable matrix; the mean of four maps."""
        maps = self.matrix[str(t)]
        assert isinstance(maps, nn.ModuleList)
        number, row, column, everything = maps
        shared = row(lines[t, 0]) + everything(whole)[:, None]
        return (number(value) + shared[:, :, None] + column(lines[t, 1])[:, None]) / 4


def _strangers(layout: Layout, layers: tuple[int, ...], target: int, diagonal: bool) -> list[int]:
    """List the blocks that share no neurons with a target; in diagonal mode only those of its layer."""
    mine = set(layout.blocks[target].slots)
    found = [s for s, block in enumerate(layout.blocks) if not mine & set(block.slots)]
    return [s for s in found if layers[s] == layers[target]] if diagonal else found


def _initialize(module: nn.Module) -> None:
    """Initialize as the released code: Xavier normal times sqrt(2 in / out), biases almost zero."""
    if not isinstance(module, nn.Linear):
        return
    gain = math.sqrt(2 * module.in_features / module.out_features)
    nn.init.xavier_normal_(module.weight, gain=gain)
    if module.bias is not None:
        nn.init.uniform_(module.bias, -1e-4, 1e-4)
