"""The linear layer that commutes with every permutation of a traced network, in compact form.

Zhou et al. (2023), "Permutation Equivariant Neural Functionals", sum nine maps per weight and five per
bias. They are all functions of three things: the number itself, what is known about each neuron it
touches, and what is known about the whole network. Collecting the second and the third once per layer
gives the same maps at a cost that grows with the parameters, for any network whose groups are known.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.encoders.orbits import Layout
from weightatlas.encoders.spread import spread


class Features(NamedTuple):
    """What is known about every number of a network, block by block.

    Args:
        values: Per block, shape `(networks, *sizes, features x channels)`.
        means: Per block and permuted axis, the mean over its other permuted axes,
            shape `(networks, size, features x channels)`.
    """

    values: list[Tensor]
    means: list[tuple[Tensor, ...]]


def features_of(values: list[Tensor]) -> Features:
    """Average each block over its permuted axes, all but one at a time."""
    return Features(values, [axis_means(value) for value in values])


def axis_means(value: Float[Tensor, "networks *sizes width"]) -> tuple[Tensor, ...]:
    """Average a block over all permuted axes but one, for each of them."""
    axes = range(1, value.ndim - 1)
    if len(axes) < 2:
        return (value,) * len(axes)
    return tuple(value.mean([other for other in axes if other != axis]) for axis in axes)


def whole_mean(
    value: Float[Tensor, "networks *sizes width"], means: tuple[Tensor, ...]
) -> Float[Tensor, "networks width"]:
    """Average a block over all its permuted axes."""
    return means[-1].mean(1) if means else value


class EquivariantLinear(nn.Module):
    """A linear map between features of networks that commutes with every permutation.

    Each number of a block with two or more permuted axes gets `P x`; along every permuted axis it also
    gets `U N`, where the descriptor `N` of a neuron joins the means of all tensors that touch it (fan-in,
    bias, fan-out, norm, every branch of a residual stream); and it gets `G g`, where `g` joins the means
    of all blocks. A block with one permuted axis is part of its neurons' descriptors, one without is part
    of `g`, so neither needs a `P`.

    All terms of a block share one initialization bound, 1/sqrt(all inputs together). The released HNP
    layer leaves its first and last layers out of this, which inflates their variance.

    Args:
        layout: How the networks' spec is cut.
        channels_in: Channels per number that come in.
        channels_out: Channels per number that go out.
        embed_ends: Add a learned vector per input and output neuron first, which tells them apart though
            they are permuted (NP); without ends there is nothing to add.
    """

    def __init__(self, layout: Layout, channels_in: int, channels_out: int, embed_ends: bool = False) -> None:
        super().__init__()
        self.layout = layout
        self.widths = [block.features * channels_out for block in layout.blocks]
        inputs = [block.features * channels_in for block in layout.blocks]
        per_slot = [sum(inputs[block] for block, _ in uses) for uses in layout.uses]
        bounds = []
        for block, width in zip(layout.blocks, inputs, strict=True):
            fan = sum(inputs) + sum(per_slot[slot] for slot in block.slots) + width * (block.axes > 1)
            bounds.append(1 / math.sqrt(fan))
        self.point = nn.ParameterDict(
            {
                str(b): _uniform((inputs[b],), bounds[b : b + 1], (self.widths[b],))
                for b, block in enumerate(layout.blocks)
                if block.axes > 1
            }
        )
        self.neuron = nn.ParameterList(
            _uniform((width,), [bounds[b] for b, _ in uses], tuple(self.widths[b] for b, _ in uses))
            for width, uses in zip(per_slot, layout.uses, strict=True)
        )
        self.whole = _uniform((sum(inputs),), bounds, tuple(self.widths))
        self.bias = _uniform((), bounds, tuple(self.widths))
        ends = {
            f"{b}_{axis}": nn.Parameter(torch.randn(block.sizes[axis], inputs[b]))
            for b, block in enumerate(layout.blocks)
            for axis, slot in enumerate(block.slots)
            if embed_ends and slot >= layout.groups
        }
        self.ends = nn.ParameterDict(ends)

    def forward(self, x: Features, relu: bool = False) -> Features:
        """Map features to features.

        Args:
            x: Features with `channels_in` channels.
            relu: Also apply a ReLU; doing it here saves passes over memory.
        """
        x = self._with_ends(x)
        of_network, of_neuron = self._shared(x)
        values, means = [], []
        for b, block in enumerate(self.layout.blocks):
            parts = [of_neuron[b, axis] for axis in range(block.axes)]
            if block.axes == 2:
                y, rows, columns = spread(x.values[b], self.point[str(b)], parts[0], parts[1], relu)
                values.append(y)
                means.append((rows, columns))
                continue
            y = of_network[b] if not parts else parts[0][(slice(None), *_only(0, block.axes), slice(None))]
            for axis, part in enumerate(parts[1:], 1):
                y = y + part[(slice(None), *_only(axis, block.axes), slice(None))]
            y = y + x.values[b] @ self.point[str(b)] if block.axes > 2 else y
            values.append(torch.relu(y) if relu else y)
            means.append(axis_means(values[-1]))
        return Features(values, means)

    def _shared(self, x: Features) -> tuple[tuple[Tensor, ...], dict[tuple[int, int], Tensor]]:
        """Compute what numbers share: `G g` per block; `U N` per block and axis, the first with `G g`."""
        everything = torch.cat([whole_mean(*pair) for pair in zip(x.values, x.means, strict=True)], dim=-1)
        of_network = F.linear(everything, self.whole.T, self.bias).split(self.widths, dim=-1)
        of_neuron = {}
        for uses, weight in zip(self.layout.uses, self.neuron, strict=True):
            known = torch.cat([x.means[b][axis] for b, axis in uses], dim=-1)
            parts = (known @ weight).split([self.widths[b] for b, _ in uses], dim=-1)
            for (b, axis), part in zip(uses, parts, strict=True):
                of_neuron[b, axis] = part + of_network[b][:, None] if axis == 0 else part
        return of_network, of_neuron

    def _with_ends(self, x: Features) -> Features:
        """Tell input and output neurons apart."""
        if not self.ends:
            return x
        values = list(x.values)
        for name, vectors in self.ends.items():
            b, axis = (int(number) for number in name.split("_"))
            values[b] = values[b] + vectors[(*_only(axis, self.layout.blocks[b].axes), slice(None))]
        changed = {int(name.split("_")[0]) for name in self.ends}
        means = [axis_means(values[b]) if b in changed else old for b, old in enumerate(x.means)]
        return Features(values, means)


def _only(axis: int, axes: int) -> tuple[slice | None, ...]:
    """Index that broadcasts a vector along one of several axes."""
    return tuple(slice(None) if other == axis else None for other in range(axes))


def _uniform(rows: tuple[int, ...], bounds: list[float], widths: tuple[int, ...]) -> nn.Parameter:
    """Draw a matrix whose column ranges have their own bounds."""
    parts = [torch.empty(*rows, width).uniform_(-b, b) for b, width in zip(bounds, widths, strict=True)]
    return nn.Parameter(torch.cat(parts, dim=-1))


class ChannelDropout(nn.Module):
    """Drop whole channels of matrices, and single numbers of vectors (the released NFN code).

    Args:
        rate: Probability of being dropped.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Features) -> Features:
        """Drop channels in training, do nothing otherwise."""
        if not self.training or not self.rate:
            return x
        values, means = [], []
        for value, known in zip(x.values, x.means, strict=True):
            if value.ndim < 4:
                values.append(F.dropout(value, self.rate))
                means.append(axis_means(values[-1]))
                continue
            keep = F.dropout(value.new_ones(len(value), value.shape[-1]), self.rate)
            values.append(value * keep[(slice(None), *[None] * (value.ndim - 2))])
            means.append(tuple(mean * keep[:, None] for mean in known))
        return Features(values, means)


def pool(x: Features, layout: Layout, ends: bool) -> Float[Tensor, "networks dim"]:
    """Describe each network by means over its permuted axes: an invariant vector.

    Args:
        x: Features.
        layout: How the spec is cut.
        ends: Keep input and output neurons apart instead of averaging over them as well.
    """
    parts = []
    for block, value, means in zip(layout.blocks, x.values, x.means, strict=True):
        kept = [axis for axis, slot in enumerate(block.slots) if ends and slot >= layout.groups]
        if not kept:
            parts.append(whole_mean(value, means))
        elif len(kept) == 1:
            parts.append(means[kept[0]].flatten(1))
        else:
            gone = [axis + 1 for axis in range(block.axes) if axis not in kept]
            parts.append((value.mean(gone) if gone else value).flatten(1))
    return torch.cat(parts, dim=1)
