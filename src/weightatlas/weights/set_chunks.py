"""Tensors cut into chunks of scalars, as set encoders read them: one integer index map per spec."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import ceil, prod
from typing import Literal

import torch
from jaxtyping import Int
from pydantic import Field, model_validator
from torch import Tensor

from weightatlas.config import Config
from weightatlas.errors import SpecError
from weightatlas.weights.spec import Axis, NetworkSpec

TAPS = 3
LABELS = 3
"""(segment, position within its member, member): 0 for a member that a permutation may move, else from 1."""


class ChunkConfig(Config):
    """How tensors are cut into chunks (SNE, section 3.2).

    Args:
        width: Entries of the plane of rows and columns per chunk; kernel taps ride along. None makes every
            whole row one chunk, of at most `cap` weights.
        mode: "row" cuts each output neuron's row by itself, so that a chunk never holds two neurons;
            "flat" flattens the plane first, as the paper does.
        cap: Most weights of a chunk where `width` is none; longer rows are cut.
        most: Most chunks of one tensor; of more, evenly spaced ones stand for all.
    """

    width: int | None = Field(default=None, ge=1)
    mode: Literal["row", "flat"] = "row"
    cap: int = Field(default=1024, ge=1)
    most: int = Field(default=4096, ge=1)

    @model_validator(mode="after")
    def _flat_has_a_width(self) -> "ChunkConfig":
        if self.mode == "flat" and self.width is None:
            raise ValueError("mode='flat' needs a width")
        return self


@dataclass(frozen=True, eq=False, slots=True)
class Chunks:
    """All chunks of one size.

    Args:
        slots: Flat parameter index behind each slot, -1 for padding, shape `(chunks, size)`.
        tensor: Tensor each chunk is of.
        index: (row, block of columns) of each chunk, or (chunk, 0) of flat ones.
        label: Label of each chunk's row; zero for flat chunks.
        template: Which of `places` describes each chunk's slots.
        places: Of each slot: place in the chunk, three tap offsets (twice the distance from the kernel's
            center), label of its column and, for flat chunks, of its row; `(templates, size, 10)`.
    """

    slots: Int[Tensor, "chunks size"]
    tensor: Int[Tensor, " chunks"]
    index: Int[Tensor, "chunks 2"]
    label: Int[Tensor, "chunks 3"]
    template: Int[Tensor, " chunks"]
    places: Int[Tensor, "templates size 10"]

    @property
    def size(self) -> int:
        """Slots per chunk."""
        return self.slots.shape[1]


@dataclass(frozen=True, eq=False, slots=True)
class _Plane:
    """One tensor as a plane of rows and columns with kernel taps."""

    number: int
    start: int
    rows: int
    columns: int
    kernel: tuple[int, ...]
    row_label: Tensor
    column_label: Tensor

    def slots(self, row: Tensor, column: Tensor, real: Tensor) -> Tensor:
        """Flat parameter indices of entries and their taps, -1 where not real."""
        taps = prod(self.kernel)
        found = (row * self.columns + column)[..., None] * taps + torch.arange(taps) + self.start
        return torch.where(real[..., None], found, -1).flatten(1).int()


def cut_chunks(spec: NetworkSpec, config: ChunkConfig) -> tuple[Chunks, ...]:
    """Cut every tensor of a spec into chunks, collected by size; made once per (spec, config).

    Matrices are (rows, columns), kernels (out, in, taps), vectors one row; leading axes of size 1 that are
    not a weight's are dropped. Memory grows with `most`, not with the size of a tensor.

    Example:
        >>> from weightatlas.weights.trace import trace
        >>> spec = trace(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)), (3,))
        >>> [tuple(chunks.slots.shape) for chunks in cut_chunks(spec, ChunkConfig())]
        [(1, 2), (4, 3), (3, 4)]

    Args:
        spec: Layout of the networks.
        config: Width and mode.

    Raises:
        SpecError: The spec has no parameters, or a kernel has more than three axes.
    """
    return _cut(spec, config)  # pyright: ignore[reportArgumentType]


@lru_cache(maxsize=256)
def _cut(spec: NetworkSpec, config: ChunkConfig) -> tuple[Chunks, ...]:
    cut = _flat if config.mode == "flat" else _by_row
    found: dict[int, list[Chunks]] = {}
    for number, tensor in enumerate(spec.tensors):
        if tensor.size:
            chunks = cut(_plane(spec, number), config)
            found.setdefault(chunks.size, []).append(chunks)
    if not found:
        raise SpecError("The spec has no parameters, so there is nothing to cut into chunks.")
    return tuple(_together(found[size]) for size in sorted(found))


def _plane(spec: NetworkSpec, number: int) -> _Plane:
    tensor = spec.tensors[number]
    shape, axes = tensor.shape, tensor.axes
    while len(shape) > 1 and shape[0] == 1 and tensor.role != "weight":
        shape, axes = shape[1:], axes[1:]
    if len(shape) > 2 + TAPS:
        raise SpecError(f"'{tensor.name}' has {len(shape)} axes; chunks know kernels of up to {TAPS}.")
    rows, columns = (shape[0], shape[1]) if len(shape) > 1 else (1, *shape, 1)[:2]
    row_label = _labels(axes[0]) if len(axes) > 1 else torch.zeros(1, LABELS, dtype=torch.int64)
    column_label = _labels(axes[min(1, len(axes) - 1)]) if axes else torch.zeros(1, LABELS, dtype=torch.int64)
    return _Plane(number, spec.offsets[number], rows, columns, shape[2:], row_label, column_label)


def _labels(axis: Axis) -> Int[Tensor, "entries 3"]:
    """Say of each entry of an axis what no permutation of its groups changes."""
    parts = []
    for number, segment in enumerate(axis):
        entry = torch.arange(segment.size)
        member = entry // segment.positions + 1 if segment.group is None else torch.zeros_like(entry)
        parts.append(torch.stack([torch.full_like(entry, number), entry % segment.positions, member], dim=1))
    return torch.cat(parts)


def _by_row(plane: _Plane, config: ChunkConfig) -> Chunks:
    wide = config.width or max(1, config.cap // prod(plane.kernel))
    width = min(wide, plane.columns)
    blocks = ceil(plane.columns / width)
    chosen = _evenly(plane.rows * blocks, config.most)
    row, block = chosen // blocks, chosen % blocks
    column = block[:, None] * width + torch.arange(width)
    slots = plane.slots(row[:, None], column, column < plane.columns)
    # Rows share one description per block of columns.
    used, template = torch.unique(block, return_inverse=True)
    column = (used[:, None] * width + torch.arange(width)).clamp(max=plane.columns - 1)
    labels = plane.column_label[column]
    places = _places(torch.cat([labels, torch.zeros_like(labels)], dim=2), plane.kernel)
    number = torch.full_like(chosen, plane.number)
    index = torch.stack([row, block], dim=1)
    return Chunks(slots, number, index, plane.row_label[row], template, places)


def _flat(plane: _Plane, config: ChunkConfig) -> Chunks:
    width, count = config.width or 1, plane.rows * plane.columns
    chosen = _evenly(ceil(count / width), config.most)
    place = chosen[:, None] * width + torch.arange(width)
    row, column = place // plane.columns, place % plane.columns
    slots = plane.slots(row, column, place < count)
    row, column = row.clamp(max=plane.rows - 1), column.clamp(max=plane.columns - 1)
    places = _places(torch.cat([plane.column_label[column], plane.row_label[row]], dim=2), plane.kernel)
    number, zero = torch.full_like(chosen, plane.number), torch.zeros_like(chosen)
    index, label = torch.stack([chosen, zero], dim=1), torch.stack([zero] * LABELS, dim=1)
    return Chunks(slots, number, index, label, torch.arange(len(chosen)), places)


def _places(
    labels: Int[Tensor, "templates width 6"], kernel: tuple[int, ...]
) -> Int[Tensor, "templates size 10"]:
    """Describe every slot: place in the chunk, tap offsets, labels."""
    templates, width = labels.shape[:2]
    offsets = [[2 * tap - (size - 1) for tap in range(size)] for size in kernel]
    grid = torch.tensor([(*tap, *[0] * (TAPS - len(tap))) for tap in product(*offsets)])
    shape = (templates, width, len(grid))
    within = torch.arange(width)[None, :, None, None].expand(*shape, 1)
    parts = [within, grid.expand(*shape, TAPS), labels[:, :, None].expand(*shape, 2 * LABELS)]
    return torch.cat(parts, dim=3).flatten(1, 2).int()


def _evenly(count: int, most: int) -> Int[Tensor, " chosen"]:
    """Choose at most `most` of `count` numbers, evenly spaced."""
    return torch.arange(count) if count <= most else torch.arange(most) * count // most


def _together(parts: list[Chunks]) -> Chunks:
    """Join chunks of one size."""
    shift, templates = 0, []
    for part in parts:
        templates.append(part.template + shift)
        shift += len(part.places)
    names = ("slots", "tensor", "index", "label")
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return Chunks(**joined, template=torch.cat(templates), places=torch.cat([part.places for part in parts]))
