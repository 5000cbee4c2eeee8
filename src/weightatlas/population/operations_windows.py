"""Convolution of large images in tiles that stay in the cache: unfold along rows of pixels only.

Unfolding a whole image makes it `kernel height x kernel width` times larger, which falls out of the cache.
Here only the kernel's columns are unfolded, into rows of `kernel width x channels` lines; a patch of output
row `y` is then a window of `kernel height` neighboring rows. All windows of a tile overlap in memory
without being copied, and one batched product per tile computes all its output rows.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from weightatlas.population.operations import Workspace

TILE_MB = 1.0  # what a tile may occupy: about a second-level cache


@dataclass(frozen=True)
class Windows:
    """One convolution on images of one size.

    Args:
        kernel: Height and width.
        stride: Steps down and across.
        padding: Border above and left.
        image: Channels, height, width and batch of the input without border.
        number: Bytes of a number.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    image: tuple[int, int, int, int]
    number: int

    @cached_property
    def side(self) -> tuple[int, int]:
        """Height and width of the output."""
        sides = zip(self.image[1:3], self.padding, self.kernel, self.stride, strict=True)
        high, wide = ((side + 2 * pad - k) // step + 1 for side, pad, k, step in sides)
        return high, wide

    @cached_property
    def line(self) -> int:
        """Numbers in one row of the unfolded input, for one channel and kernel column."""
        return self.side[1] * self.image[3]

    @cached_property
    def tiles(self) -> list[tuple[int, int]]:
        """First output row and number of output rows of each tile."""
        row = self.kernel[1] * self.image[0] * self.line * self.number
        most = int((TILE_MB * 2**20 / row - self.kernel[0]) / self.stride[0]) + 1
        high = self.side[0]
        pieces = -(-high // min(max(most, 1), high))
        size = -(-high // pieces)
        return [(start, min(size, high - start)) for start in range(0, high, size)]

    def weights(self, weight: Tensor) -> Tensor:
        """Lay kernels `(out, channels, height, width)` out as the windows are: height, width, channels."""
        return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)

    def unfold(self, padded: Tensor, tile: tuple[int, int], work: Workspace, key: str) -> Tensor:
        """Return the windows `(rows, height * width * channels, pixels * batch)` of a padded image."""
        start, rows = tile
        step, taken = padded.stride(), (rows - 1) * self.stride[0] + self.kernel[0]
        channels, _, _, batch = self.image
        view = padded.as_strided(
            (taken, self.kernel[1], channels, self.side[1], batch),
            (step[1], step[2], step[0], step[2] * self.stride[1], 1),
            padded.storage_offset() + start * self.stride[0] * step[1],
        )
        lines = work.take((key, "windows"), view.shape, padded).copy_(view)
        width = self.kernel[1] * channels * self.line
        size = (rows, self.kernel[0] * self.kernel[1] * channels, self.line)
        return lines.as_strided(size, (width * self.stride[0], self.line, 1), lines.storage_offset())

    def spread(
        self, weight: Tensor, grad: Tensor, tile: tuple[int, int], back: Tensor, work: Workspace, key: str
    ) -> None:
        """Add the gradient of one tile's outputs to the gradient of the image.

        Rows of the input that are a stride apart lie side by side, so that each kernel row adds to one piece.

        Args:
            weight: As laid out by `weights`, shape `(out, height * width * channels)`.
            grad: Shape `(rows, out, pixels * batch)`.
            tile: First output row and number of rows.
            back: Gradient of the image without border, added to.
            work: Buffers.
            key: Name of the layer.
        """
        start, rows = tile
        high, wide = self.kernel
        channels, height, width, batch = self.image
        step = self.stride[0]
        length = rows + (high - 1) // step
        lines = work.take((key, "lines"), (step, length, wide * channels, self.line), back).zero_()
        kernels = weight.view(len(weight), high, wide * channels).permute(1, 2, 0)
        for i in range(high):
            target = lines[i % step, i // step : i // step + rows]
            target.baddbmm_(kernels[i].expand(rows, -1, -1), grad)
        parts = lines.view(step, length, wide, channels, self.side[1], batch)
        for phase in range(min(step, high)):
            first = start * step + phase - self.padding[0]
            down, own_rows = meet(first, step, height, length)
            for j in range(wide):
                across, own = meet(j - self.padding[1], self.stride[1], width, self.side[1])
                back[:, down, across].add_(parts[phase, own_rows, j, :, own].transpose(0, 1))


def filled(width: int) -> float:
    """Share of 16-number registers that a row of `width` numbers uses; products are faster the more it is."""
    return width / (16 * -(-width // 16))


def meet(start: int, stride: int, side: int, count: int) -> tuple[slice, slice]:
    """Find where positions `start, start + stride, ...` lie inside an axis.

    Example:
        >>> meet(-2, 2, 5, 9)
        (slice(0, 5, 2), slice(1, 4, None))

    Args:
        start: First position; may lie before the axis.
        stride: Step between positions.
        side: Length of the axis.
        count: Number of positions.

    Returns:
        The positions inside, and which of them they are.
    """
    first = max(-(start // stride), 0)
    last = min((side - 1 - start) // stride, count - 1)
    if last < first:
        return slice(0, 0), slice(0, 0)
    return slice(first * stride + start, last * stride + start + 1, stride), slice(first, last + 1)


def forward(
    plan: Windows, padded: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, work: Workspace, key: str
) -> None:
    """Convolve one image stack, writing to `out`.

    Args:
        plan: The convolution.
        padded: Input with border, shape `(channels, height, width, batch)`.
        weight: Kernels, shape `(out, channels, height, width)`.
        bias: Shape `(out,)`, or none.
        out: Shape `(out, height, width, batch)`.
        work: Buffers.
        key: Name of the layer.
    """
    flat = plan.weights(weight)
    for start, rows in plan.tiles:
        windows = plan.unfold(padded, (start, rows), work, key)
        room = work.take((key, "rows"), (rows, len(flat), plan.line), padded)
        torch.bmm(flat.expand(rows, -1, -1), windows, out=room)
        found, target = (
            room.view(rows, len(flat), *out.shape[2:]).transpose(0, 1),
            out[:, start : start + rows],
        )
        if bias is None:
            target.copy_(found)
        else:
            torch.add(found, bias[:, None, None, None], out=target)


def backward(
    plan: Windows,
    padded: Tensor,
    weight: Tensor,
    grad: Tensor,
    back: Tensor | None,
    work: Workspace,
    key: str,
) -> Tensor:
    """Return the gradient of the kernels; add that of the input to `back` if there is one.

    Args:
        plan: The convolution.
        padded: Input with border, shape `(channels, height, width, batch)`.
        weight: Kernels, shape `(out, channels, height, width)`.
        grad: Shape `(out, height, width, batch)`.
        back: Shape of the input without border, or none.
        work: Buffers.
        key: Name of the layer.
    """
    flat = plan.weights(weight)
    total = torch.zeros_like(flat)
    for start, rows in plan.tiles:
        windows = plan.unfold(padded, (start, rows), work, key)
        own = grad[:, start : start + rows].flatten(2).transpose(0, 1)
        if filled(windows.shape[1]) < filled(len(flat)):
            total += torch.bmm(windows, own.transpose(1, 2)).sum(dim=0).T
        else:
            total += torch.bmm(own, windows.transpose(1, 2)).sum(dim=0)
        if back is not None:
            plan.spread(flat, own, (start, rows), back, work, key)
    out, channels, high, wide = weight.shape
    return total.view(out, high, wide, channels).permute(0, 3, 1, 2)
