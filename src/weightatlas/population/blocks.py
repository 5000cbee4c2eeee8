"""Blocks: networks that take the same steps together, with their own data order and randomness."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.population.engines import Engine, Loss
from weightatlas.population.optimizers import optimizers
from weightatlas.runtime import shuffles, stream, uniform
from weightatlas.weights.spec import NetworkSpec

MOST = 64  # networks in a block: enough to hide the cost of launching operations


def plan(runs: Sequence[Any], workers: int) -> list[Int[Tensor, " rows"]]:
    """Group runs that can step together: one optimizer and batch size, most steps first.

    Args:
        runs: Training settings, one per network.
        workers: Blocks wanted at least, so that every worker has one.

    Returns:
        Row numbers of each block.
    """
    groups: dict[tuple[str, int], list[int]] = {}
    for index, run in enumerate(runs):
        groups.setdefault((run.optimizer, run.batch_size), []).append(index)
    blocks = []
    for rows in groups.values():
        rows.sort(key=lambda i: -runs[i].train_fraction)
        pieces = max(-(-len(rows) // MOST), min(workers, len(rows)))
        pieces = -(-pieces // workers) * workers if pieces * 2 <= len(rows) else pieces
        blocks += [torch.tensor(part) for part in _cut(rows, pieces)]
    return blocks


def _cut(rows: list[int], pieces: int) -> list[list[int]]:
    """Cut a list into pieces whose lengths differ by at most one."""
    ends = [round(len(rows) * i / pieces) for i in range(pieces + 1)]
    return [rows[a:b] for a, b in pairwise(ends) if b > a]


class Block:
    """Weights, optimizer state and random streams of some networks.

    Args:
        rows: Where the networks stand in the caller's order.
        runs: Their settings; optimizer and batch size are the same for all.
        weights: Their first weights.
        spec: Their layout.
        data: Split -> (inputs, labels).
    """

    def __init__(
        self,
        rows: Int[Tensor, " networks"],
        runs: Sequence[Any],
        weights: Float[Tensor, "networks params"],
        spec: NetworkSpec,
        data: Mapping[str, tuple[Tensor, Tensor]],
    ) -> None:
        device = weights.device
        self.rows, self.weights, self.spec = rows.to(device), weights, spec
        self.keys = torch.tensor([run.key for run in runs], device=device)
        self.batch = runs[0].batch_size
        self.dropout = torch.tensor([run.dropout for run in runs], device=device)
        images = len(data["train"][0])
        counts = [int(run.train_fraction * images) for run in runs]
        self.counts = torch.tensor(counts, device=device)
        self.steps = [count // self.batch for count in counts]
        columns = [torch.tensor([[getattr(run, f)] for run in runs], device=device) for f in _COLUMNS]
        trainable = None if bool(spec.trainable.all()) else spec.trainable.to(device)
        self.optimizer = optimizers.get(runs[0].optimizer)(weights, *columns, trainable)
        self.members = None
        if min(counts) < images:
            self.members = shuffles(stream(self.keys, "members"), images)
            self.members[self.counts == images] = torch.arange(images, device=device)  # as without companions

    def order(self, epoch: int, images: int) -> Int[Tensor, "networks images"]:
        """Draw the order in which each network sees its images in an epoch."""
        draws = uniform(stream(self.keys, epoch, "order"), images)
        if self.members is None:
            return draws.argsort(dim=1)
        outside = torch.arange(images, device=draws.device) >= self.counts[:, None]
        return self.members.gather(1, draws.masked_fill_(outside, 2.0).argsort(dim=1))

    def share(self, images: int) -> Float[Tensor, "networks images"] | None:
        """Weight each training image by 1/n if a network trains on it; none if all train on all."""
        if self.members is None:
            return None
        inside = torch.arange(images, device=self.keys.device) < self.counts[:, None]
        weights = inside.double() / self.counts[:, None]
        return torch.zeros_like(weights).scatter_(1, self.members, weights)

    def masks(
        self, epoch: int, step: int, active: int, shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, Tensor]:
        """Draw the dropout masks of one step, scaled to keep the mean."""
        if not bool((self.dropout > 0).any()):
            return {}
        result = {}
        for number, (name, shape) in enumerate(shapes.items()):
            keys = stream(self.keys[:active], epoch, step, number, "dropout")
            rate = self.dropout[:active].reshape(-1, *(1 for _ in shape), 1)
            draws = uniform(keys, self.batch * torch.Size(shape).numel()).reshape(active, self.batch, *shape)
            result[name] = (draws >= rate) / (1 - rate)
        return result


_COLUMNS = ("lr", "weight_decay", "momentum")


def train_epoch(
    block: Block,
    engine: Engine,
    epoch: int,
    inputs: Tensor,
    labels: Tensor,
    loss: Loss,
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Take all steps of one epoch for the networks of a block, in place."""
    order = block.order(epoch, len(inputs))
    room = inputs.new_empty(0)
    for step in range(max(block.steps)):
        active = sum(steps > step for steps in block.steps)
        index = order[:active, step * block.batch : (step + 1) * block.batch]
        masks = block.masks(epoch, step, active, shapes)
        weights = block.weights[:active]
        images = pick(inputs, index, room)
        gradient, _, statistics = engine.gradients(weights, images, labels[index], loss, masks)
        block.optimizer.step(gradient)
        for name, value in statistics.items():
            weights[:, block.spec.slices[name]] = value.flatten(1)


def pick(inputs: Tensor, index: Int[Tensor, "networks batch"], room: Tensor) -> Tensor:
    """Gather the images of all networks into memory that is used again, several times faster than indexing.

    Args:
        inputs: All images, shape `(images, ...)`.
        index: Which images each network sees.
        room: An empty tensor that keeps the memory between calls.

    Returns:
        Shape `(networks, batch, ...)`; the next call writes over it.
    """
    room.resize_(index.numel(), inputs[0].numel())
    torch.index_select(inputs.flatten(1), 0, index.flatten(), out=room)
    return room.view(*index.shape, *inputs.shape[1:])
