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
    """What is known about every number of a network.

    Args:
        matrices: Per block with two or more permuted axes, `(networks, *sizes, features x channels)`.
        lines: Per slot, everything known about its members: the numbers of vectors along it and the means
            of matrices over their other axes, in the order of `Layout.uses`,
            `(networks, members, features x channels of all)`.
        alone: Per block without permuted axes, `(networks, features x channels)`.
    """

    matrices: dict[int, Tensor]
    lines: list[Tensor]
    alone: list[Tensor]


def features_of(values: list[Tensor], layout: Layout) -> Features:
    """Sort the numbers of networks by what they belong to, and average matrices along their axes.

    Args:
        values: Per block, `(networks, *sizes, features x channels)`.
        layout: How the spec is cut.
    """
    means = [axis_means(value) for value in values]
    return Features(
        {b: values[b] for b, block in enumerate(layout.blocks) if block.axes > 1},
        [torch.cat([means[b][axis] for b, axis in uses], dim=-1) for uses in layout.uses],
        [values[b] for b, block in enumerate(layout.blocks) if not block.axes],
    )


def axis_means(value: Float[Tensor, "networks *sizes width"]) -> tuple[Tensor, ...]:
    """Average a block over all permuted axes but one, for each of them."""
    axes = range(1, value.ndim - 1)
    if len(axes) < 2:
        return (value,) * len(axes)
    return tuple(value.mean([other for other in axes if other != axis]) for axis in axes)


class Widths:
    """How wide the parts of `Features` are at some number of channels.

    Args:
        layout: How the spec is cut.
        channels: Channels per number.
    """

    def __init__(self, layout: Layout, channels: int) -> None:
        self.blocks = [block.features * channels for block in layout.blocks]
        self.lines = [[self.blocks[b] for b, _ in uses] for uses in layout.uses]
        self.leading = [self.blocks[b] for b in layout.leading]
        # Per slot: all of its vectors together, then each matrix.
        self.sections: list[list[int]] = []
        # Per slot: its vectors and the matrices whose first axis it is.
        self.first: list[int] = []
        for uses in layout.uses:
            vectors = [self.blocks[b] for b, _ in uses if layout.blocks[b].axes == 1]
            matrices = [self.blocks[b] for b, _ in uses if layout.blocks[b].axes > 1]
            self.sections.append([sum(vectors), *matrices])
            self.first.append(sum(self.blocks[b] for b, axis in uses if axis == 0))
        self.alone = [self.blocks[b] for b, block in enumerate(layout.blocks) if not block.axes]


def whole(x: Features, widths: Widths) -> Float[Tensor, "networks width"]:
    """Average every block over all its permuted axes, in the order of `Layout.leading`."""
    means = [line[..., :first].mean(1) for line, first in zip(x.lines, widths.first, strict=True)]
    return torch.cat([*means, *x.alone], dim=-1)


class EquivariantLinear(nn.Module):
    """A linear map between features of networks that commutes with every permutation.

    Each number of a matrix (two or more permuted axes) gets `P x`; along every permuted axis a number also
    gets `U N`, where the descriptor `N` of a neuron joins the means of all tensors that touch it (fan-in,
    bias, fan-out, norm, every branch of a residual stream); and it gets `G g`, where `g` joins the means
    of all blocks. A vector is part of its neurons' descriptors, a block without permuted axes of `g`, so
    neither needs a `P`.

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
        self.inputs, self.outputs = Widths(layout, channels_in), Widths(layout, channels_out)
        bounds = self._bounds()
        into, out = self.inputs, self.outputs
        self.point = nn.ParameterDict(
            {
                str(b): _uniform((into.blocks[b],), bounds[b : b + 1], [out.blocks[b]])
                for b, block in enumerate(layout.blocks)
                if block.axes > 1
            }
        )
        self.neuron = nn.ParameterList(
            _uniform((sum(into.lines[slot]),), [bounds[b] for b, _ in uses], out.lines[slot])
            for slot, uses in enumerate(layout.uses)
        )
        leading = [bounds[b] for b in layout.leading]
        self.whole = _uniform((sum(into.leading),), leading, out.leading)
        self.bias = _uniform((), leading, out.leading)
        self.ends = nn.ParameterDict(
            {
                f"{b}_{axis}": nn.Parameter(torch.randn(block.sizes[axis], into.blocks[b]))
                for b, block in enumerate(layout.blocks)
                for axis, slot in enumerate(block.slots)
                if embed_ends and slot >= layout.groups
            }
        )

    def _bounds(self) -> list[float]:
        """Return 1/sqrt(numbers that each number of a block is computed from), per block."""
        bounds = []
        for b, block in enumerate(self.layout.blocks):
            fan = sum(self.inputs.leading) + sum(sum(self.inputs.lines[slot]) for slot in block.slots)
            bounds.append(1 / math.sqrt(fan + self.inputs.blocks[b] * (block.axes > 1)))
        return bounds

    def forward(self, x: Features, relu: bool = False) -> Features:
        """Map features to features.

        Args:
            x: Features with `channels_in` channels.
            relu: Also apply a ReLU; doing it here saves passes over memory.
        """
        x = self._with_ends(x)
        vectors, terms, alone = self._shared(x)
        matrices: dict[int, Tensor] = {}
        means: dict[int, tuple[Tensor, ...]] = {}
        for b, value in x.matrices.items():
            parts = [terms[b, axis] for axis in range(value.ndim - 2)]
            matrices[b], means[b] = self._matrix(b, value, parts, relu)
        if relu:
            vectors, alone = [v.relu() for v in vectors], [a.relu() for a in alone]
        lines = []
        for vector, uses in zip(vectors, self.layout.uses, strict=True):
            known = [means[b][axis] for b, axis in uses if b in means]
            lines.append(torch.cat([vector, *known], dim=-1) if known else vector)
        return Features(matrices, lines, alone)

    def _shared(self, x: Features) -> tuple[list[Tensor], dict[tuple[int, int], Tensor], list[Tensor]]:
        """Compute vectors, the terms along each axis of the matrices, and the blocks without axes.

        The term along a matrix's first axis contains `G g`.
        """
        out = self.outputs
        of_network = F.linear(whole(x, self.inputs), self.whole.T, self.bias)
        of_slots = of_network.split([*out.first, *out.alone], dim=-1)
        vectors, terms = [], {}
        for slot, uses in enumerate(self.layout.uses):
            shared = x.lines[slot] @ self.neuron[slot]
            padding = shared.shape[-1] - out.first[slot]
            shared = shared + F.pad(of_slots[slot], (0, padding))[:, None]
            vector, *parts = shared.split(out.sections[slot], dim=-1)
            vectors.append(vector)
            terms.update(zip([use for use in uses if use[0] in x.matrices], parts, strict=True))
        return vectors, terms, list(of_slots[len(vectors) :])

    def _matrix(
        self, b: int, value: Tensor, parts: list[Tensor], relu: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute a matrix from itself and its terms along each axis; also its means."""
        point = self.point[str(b)]
        for axis in range(len(parts)):
            if f"{b}_{axis}" in self.ends:
                parts[axis] = parts[axis] + self.ends[f"{b}_{axis}"] @ point
        if len(parts) == 2:
            y, *means = spread(value, point, parts[0], parts[1], relu)
            return y, tuple(means)
        y = value @ point
        for axis, part in enumerate(parts):
            y = y + part[(slice(None), *_only(axis, len(parts)), slice(None))]
        y = y.relu() if relu else y
        return y, axis_means(y)

    def _with_ends(self, x: Features) -> Features:
        """Tell input and output neurons apart: add their vectors to the lines; matrices follow later."""
        if not self.ends:
            return x
        lines = list(x.lines)
        for slot, uses in enumerate(self.layout.uses):
            added = [self._end(b, axis) for b, axis in uses]
            if any(part is not None for part in added):
                empty = [lines[slot].new_zeros(1, width) for width in self.inputs.lines[slot]]
                parts = [zero if part is None else part for part, zero in zip(added, empty, strict=True)]
                lines[slot] = lines[slot] + torch.cat([p.expand(lines[slot].shape[1], -1) for p in parts], 1)
        return Features(x.matrices, lines, x.alone)

    def _end(self, b: int, axis: int) -> Tensor | None:
        """Vectors of the ends of a block as its mean along an axis sees them."""
        found = None
        for other in range(self.layout.blocks[b].axes):
            vectors = self.ends.get(f"{b}_{other}")
            if vectors is not None:
                seen = vectors if other == axis else vectors.mean(0, keepdim=True)
                found = seen if found is None else found + seen
        return found


def _only(axis: int, axes: int) -> tuple[slice | None, ...]:
    """Index that broadcasts a vector along one of several axes."""
    return tuple(slice(None) if other == axis else None for other in range(axes))


def _uniform(rows: tuple[int, ...], bounds: list[float], widths: list[int]) -> nn.Parameter:
    """Draw a matrix whose column ranges have their own bounds."""
    parts = [torch.empty(*rows, width).uniform_(-b, b) for b, width in zip(bounds, widths, strict=True)]
    return nn.Parameter(torch.cat(parts, dim=-1))


class ChannelDropout(nn.Module):
    """Drop whole channels of matrices, and single numbers of everything else (the released NFN code).

    Args:
        layout: How the spec is cut.
        channels: Channels per number.
        rate: Probability of being dropped.
    """

    def __init__(self, layout: Layout, channels: int, rate: float) -> None:
        super().__init__()
        self.layout, self.rate = layout, rate
        self.widths = Widths(layout, channels)

    def forward(self, x: Features) -> Features:
        """Drop channels in training, do nothing otherwise."""
        if not self.training or not self.rate:
            return x
        keep = {b: F.dropout(m.new_ones(len(m), m.shape[-1]), self.rate) for b, m in x.matrices.items()}
        matrices = {b: m * keep[b][(slice(None), *[None] * (m.ndim - 2))] for b, m in x.matrices.items()}
        lines = []
        for line, uses, sections in zip(x.lines, self.layout.uses, self.widths.sections, strict=True):
            masks = [F.dropout(line.new_ones(*line.shape[:2], sections[0]), self.rate)]
            masks += [keep[b][:, None].expand(-1, line.shape[1], -1) for b, _ in uses if b in keep]
            lines.append(line * torch.cat(masks, dim=-1))
        return Features(matrices, lines, [F.dropout(value, self.rate) for value in x.alone])


def pool(x: Features, layout: Layout, channels: int, ends: bool) -> Float[Tensor, "networks dim"]:
    """Describe each network by means over its permuted axes: an invariant vector.

    Args:
        x: Features.
        layout: How the spec is cut.
        channels: Channels per number.
        ends: Keep input and output neurons apart instead of averaging over them as well.
    """
    widths = Widths(layout, channels)
    if not ends or layout.groups == len(layout.sizes):
        return whole(x, widths)
    lines = {}
    for slot, uses in enumerate(layout.uses):
        lines.update(zip(uses, x.lines[slot].split(widths.lines[slot], dim=-1), strict=True))
    parts = list(x.alone)
    for b in layout.leading:
        slots = layout.blocks[b].slots
        kept = [axis for axis, slot in enumerate(slots) if slot >= layout.groups]
        if slots and len(kept) < 2:
            parts.append(lines[b, kept[0]].flatten(1) if kept else lines[b, 0].mean(1))
        elif slots:
            gone = [axis + 1 for axis in range(len(slots)) if axis not in kept]
            parts.append((x.matrices[b].mean(gone) if gone else x.matrices[b]).flatten(1))
    return torch.cat(parts, dim=1)
