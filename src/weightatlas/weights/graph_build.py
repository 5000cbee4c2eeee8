"""Nodes and edges of a parameter graph in the making: which node each column of a tensor comes from."""

from dataclasses import dataclass, field
from math import isqrt, prod

import numpy as np

from weightatlas.weights.spec import Axis, NetworkSpec

ZERO, ONE = -1, -2  # what a tap reads that no parameter stands behind
LINEAR, CONV, NORM, SUM, PRODUCT, OTHER = range(6)
Array = np.ndarray


@dataclass
class Relation:
    """Edges into one block from one tensor.

    Args:
        source: Node of each column, one row per grid, shape `(grids, columns)`.
        taps: Flat parameters, shape `(nodes of the block, columns, taps)`.
        kind: Kind of edge.
        fan: Incoming numbers of the layer.
        part: Part of a large kernel, per column.
    """

    source: Array
    taps: Array
    kind: int
    fan: int = 1
    part: Array = field(default_factory=lambda: np.zeros(1, np.int64))


@dataclass
class Made:
    """One block in the making."""

    start: int
    size: int
    kind: int
    tags: Array
    scalars: Array
    relations: list[Relation] = field(default_factory=list)
    depth: int = 0


class Builder:
    """Nodes and edges collected so far.

    A line is the list of nodes along the channels of a tensor; a tag (group, member, position) says
    how a node moves under permutation, -1 for not at all.
    """

    def __init__(self, spec: NetworkSpec, frame: int) -> None:
        self.spec, self.frame = spec, frame
        self.blocks: list[Made] = []
        self.tags = np.empty((0, 3), np.int64)
        self.depths = np.empty(0, np.int64)
        self.activation = np.empty(0, np.int64)
        self.latest: dict[int, Array] = {}

    def nodes(self, tags: Array, kind: int, relations: list[Relation] | None = None) -> Array:
        """Add a block; return its nodes."""
        start, size = len(self.tags), len(tags)
        block = Made(start, size, kind, tags, np.full((size, 3), ZERO), relations or [])
        reads = [self.depths[r.source].max() + 1 for r in block.relations if r.source.size]
        block.depth = int(max(reads, default=0))
        self.blocks.append(block)
        self.tags = np.concatenate([self.tags, tags])
        self.depths = np.concatenate([self.depths, np.full(size, block.depth)])
        self.activation = np.concatenate([self.activation, np.zeros(size, np.int64)])
        line = np.arange(start, start + size)
        for group in np.unique(tags[:, 0]):
            if group >= 0:
                self.latest[int(group)] = line[tags[:, 0] == group]
        return line

    def flat(self, tensor: int) -> Array:
        """Flat parameters of a tensor, in its shape."""
        own = self.spec.tensors[tensor]
        start = self.spec.offsets[tensor]
        return np.arange(start, start + own.size).reshape(own.shape)

    def sources(self, axis: Axis, line: Array | None, first: int = 0) -> tuple[Array, Array]:
        """Find the node behind each column of an axis, and which of the node's taps the column is.

        The line that enters the layer is taken if every column moves with its node. Else each segment
        takes the last nodes of its group, or new nodes of its own.
        """
        tags = tags_of(axis)
        if line is not None and len(line):
            taps = max(len(tags) // max(len(line) - first, 1), 1)
            place = np.arange(len(tags)) // taps + first
            tap = np.arange(len(tags)) % taps
            if place[-1] < len(line) and (first or len(tags) == taps * len(line)):
                found = self.tags[line[place]]
                whole = np.where(tags[:, 0] >= 0, tags[:, 2] == found[:, 2] * taps + tap, True)
                if bool((found[:, :2] == tags[:, :2]).all() and whole.all()):
                    return line[place], tap
        parts = [self._by_group(segment.group, segment.members, segment.positions) for segment in axis]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def _by_group(self, group: int | None, members: int, positions: int) -> tuple[Array, Array]:
        size = members * positions
        known = None if group is None else self.latest.get(group)
        own = 0 if known is None else len(known) // members
        order = np.arange(size)
        if known is None or group is None or own == 0 or positions % own or len(known) != members * own:
            tags = np.full((size, 3), -1)
            if group is not None:
                tags = np.stack([np.full(size, group), order // positions, order % positions], axis=1)
            return self.nodes(tags, 3), np.zeros(size, np.int64)
        ratio = positions // own
        return known[order // ratio], order % ratio

    def dense(
        self, flat: Array, axis: Axis, line: Array | None, first: int = 0
    ) -> tuple[Array, Array, Array]:
        """Lay `(rows, columns, *kernel)` parameters out as edges: source, taps and part per column."""
        source, tap = self.sources(axis, line, first)
        kernel = flat.shape[2:]
        nodes, inverse = np.unique(source, return_inverse=True)
        taps = int(tap.max()) + 1
        grid = np.full((len(flat), len(nodes), taps, prod(kernel)), ZERO)
        grid[:, inverse, tap] = flat.reshape(*flat.shape[:2], -1)
        framed = self.framed(
            grid.reshape(len(flat), len(nodes), -1), kernel if taps == 1 else (taps, *kernel)
        )
        pieces = framed.shape[2]
        spread = framed.reshape(len(flat), len(nodes) * pieces, -1)
        return np.repeat(nodes, pieces), spread, np.tile(np.arange(pieces), len(nodes))

    def framed(self, taps: Array, kernel: tuple[int, ...]) -> Array:
        """Center kernels in the frame; larger ones are cut into pieces: `(rows, columns, pieces, taps)`."""
        side = self.frame
        kernel = tuple(size for size in kernel if size > 1)
        square = isqrt(taps.shape[2])
        if len(kernel) == 1 and square**2 == kernel[0] and square > 1:
            kernel = (square, square)  # a flattened feature map is a kernel of its size
        kernel = (1,) * (2 - len(kernel)) + kernel if len(kernel) < 2 else kernel
        if len(kernel) == 2 and max(kernel) <= side:
            frame = np.full((*taps.shape[:2], side, side), ZERO)
            top, left = (side - kernel[0]) // 2, (side - kernel[1]) // 2
            frame[:, :, top : top + kernel[0], left : left + kernel[1]] = taps.reshape(
                *taps.shape[:2], *kernel
            )
            return frame.reshape(*taps.shape[:2], 1, side**2)
        room = -taps.shape[2] % side**2
        padded = np.pad(taps, ((0, 0), (0, 0), (0, room)), constant_values=ZERO)
        return padded.reshape(*taps.shape[:2], -1, side**2)

    def single(self, source: Array, taps: Array | None, kind: int) -> Relation:
        """One edge per node; without parameters it carries 1."""
        own = np.full((len(source), 1, 1), ONE) if taps is None else taps.reshape(len(source), 1, -1)
        framed = self.framed(own, own.shape[2:])
        pieces = framed.shape[2]
        part = np.arange(pieces)
        return Relation(np.repeat(source[:, None], pieces, 1), framed[:, 0], kind, 1, part)


def tags_of(axis: Axis) -> Array:
    """Say how each entry of an axis moves: (group, member, position), -1 where it does not."""
    parts = []
    for segment in axis:
        order = np.arange(segment.size)
        group = np.full(segment.size, -1 if segment.group is None else segment.group)
        parts.append(np.stack([group, order // segment.positions, order % segment.positions], axis=1))
        if segment.group is None:
            parts[-1][:] = -1
    return np.concatenate(parts) if parts else np.full((1, 3), -1)
