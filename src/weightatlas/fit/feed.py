"""What goes into each step: order of networks, queries and the originals' outputs."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.objectives.views import Among
from weightatlas.population.forward import Population
from weightatlas.population.targets import Targets, cache_targets
from weightatlas.processes import ALONE, Processes
from weightatlas.runtime import generator_of
from weightatlas.weights.batch import Batch, Weights

log = logging.getLogger("weightatlas")


@dataclass(frozen=True, slots=True)
class Queries:
    """Inputs on which networks are executed, on the device of the training.

    Args:
        inputs: The whole pool, shape `(pool, ...)`.
    """

    inputs: Tensor

    def sample(self, count: int, generator: torch.Generator) -> tuple[Int[Tensor, " queries"], Tensor]:
        """Draw queries without repetition: their places in the pool, and themselves."""
        index = torch.randperm(len(self.inputs), generator=generator)[:count].to(self.inputs.device)
        return index, self.inputs[index]


def as_queries(source: Any) -> Queries | None:
    """Bring a tensor, or anything with `.inputs` (a `QueryPool`), to queries.

    Raises:
        DataError: It is neither, or it is empty.
    """
    if source is None:
        return None
    inputs = source if isinstance(source, Tensor) else getattr(source, "inputs", None)
    if not isinstance(inputs, Tensor) or len(inputs) == 0:
        raise DataError(f"queries= is a {type(source).__name__}: pass a QueryPool or a tensor of inputs.")
    return Queries(inputs)


def as_batch(data: Any) -> Batch:
    """Bring a batch, weights, or anything with `.batch()` (a zoo) to a batch.

    Raises:
        DataError: It is none of these.
    """
    if isinstance(data, Batch):
        return data
    if isinstance(data, Weights):
        return Batch((Weights(data.values, data.spec, torch.arange(len(data))),))
    if hasattr(data, "batch"):
        return data.batch()
    raise DataError(f"Cannot train on a {type(data).__name__}: pass a zoo, a Batch or Weights.")


ENOUGH = 2**26  # numbers from which scaling, PCA and statistics are learned: 256 MB, a few times held


def thinned(batch: Batch, numbers: int = ENOUGH) -> Batch:
    """Return the batch, or evenly spread networks of it if it holds more numbers than closed forms need.

    Args:
        batch: Training networks, possibly mapped from a file larger than memory.
        numbers: Weights of all networks together, at most.
    """
    total = sum(group.values.numel() for group in batch)
    if total <= numbers:
        return batch
    groups: list[Weights] = []
    places = []
    for group in batch:
        kept = max(int(len(group) * numbers / total), min(len(group), 2))
        rows = torch.linspace(0, len(group) - 1, kept).round().long()
        before = sum(len(other) for other in groups)
        places.append(group.rows[rows])
        groups.append(Weights(group.values[rows], group.spec, torch.arange(before, before + kept)))
    return Batch(tuple(groups), {name: label[torch.cat(places)] for name, label in batch.labels.items()})


def moved(batch: Batch, device: torch.device) -> Batch:
    """Copy the networks and labels of a batch to a device."""
    labels = {name: torch.as_tensor(label).to(device) for name, label in batch.labels.items()}
    return Batch(tuple(Weights(g.values.to(device), g.spec, g.rows) for g in batch), labels)


def labels_at(
    batch: Batch, names: Sequence[str], pieces: Sequence[tuple[int, Int[Tensor, "_"]]]
) -> dict[str, Tensor]:
    """Read the labels of some rows of some groups, group after group.

    Args:
        batch: Networks with labels.
        names: Which labels.
        pieces: Group numbers and rows inside them.
    """
    if not names:
        return {}
    places = torch.cat([batch.groups[number].rows[rows.cpu()] for number, rows in pieces])
    return {name: batch.labels[name][places.to(batch.labels[name].device)] for name in names}


class Order:
    """Which networks form which step; a function of seed and step alone.

    Every pass visits every network once, in batches of nearly equal size.

    Args:
        batch: Training networks.
        size: Networks per step, at most.
        seed: Seed of the order.
        mixed: A step may hold networks of several groups; otherwise it holds one group's.
    """

    def __init__(self, batch: Batch, size: int, seed: int, mixed: bool = False) -> None:
        self.sizes = [len(group) for group in batch]
        self.size, self.seed = size, seed
        self.mixed = mixed and len(self.sizes) > 1
        parts = [sum(self.sizes)] if self.mixed else self.sizes
        self.steps = sum(ceil(count / size) for count in parts)
        self.least = min((count // ceil(count / size) for count in parts if count), default=0)
        self._pass: tuple[int, list[list[tuple[int, Tensor]]]] = (-1, [])

    def __call__(self, step: int) -> list[tuple[int, Int[Tensor, "_"]]]:
        """Return the groups of a step and the rows inside each."""
        number = step // self.steps
        if self._pass[0] != number:
            self._pass = (number, self._mixed(number) if self.mixed else self._shuffled(number))
        return self._pass[1][step % self.steps]

    def _mixed(self, number: int) -> list[list[tuple[int, Tensor]]]:
        group = torch.repeat_interleave(torch.tensor(self.sizes))
        row = torch.cat([torch.arange(size) for size in self.sizes])
        chosen = torch.randperm(len(group), generator=generator_of(self.seed, "order", number))
        found = []
        for part in chosen.tensor_split(self.steps):
            part = part[group[part].argsort(stable=True)]
            numbers, counts = group[part].unique_consecutive(return_counts=True)
            rows = row[part].split(counts.tolist())
            found.append(list(zip(numbers.tolist(), rows, strict=True)))
        return found

    def _shuffled(self, number: int) -> list[list[tuple[int, Tensor]]]:
        generator = generator_of(self.seed, "order", number)
        parts: list[tuple[int, Tensor]] = []
        for group, count in enumerate(self.sizes):
            rows = torch.randperm(count, generator=generator)
            parts += [(group, part) for part in rows.tensor_split(ceil(count / self.size))]
        return [[parts[i]] for i in torch.randperm(len(parts), generator=generator)]


@dataclass(frozen=True, slots=True)
class Piece:
    """Networks of one group in a step, as many as one process works on.

    Args:
        group: Number of the group.
        rows: Rows inside the group.
        among: Which of the group's networks in this step they are.
    """

    group: int
    rows: Int[Tensor, " own"]
    among: Among


def own_pieces(step: Sequence[tuple[int, Int[Tensor, "_"]]], processes: Processes = ALONE) -> list[Piece]:
    """Cut a step into parts of nearly equal size, one per process, and return that of this one.

    Every group is named, also where this process has none of its networks.

    Args:
        step: Group numbers and rows, as `Order` gives them.
        processes: Those that share the step.
    """
    part = processes.part(sum(len(rows) for _, rows in step))
    found, before = [], 0
    for group, rows in step:
        first, last = (min(max(edge - before, 0), len(rows)) for edge in (part.start, part.stop))
        found.append(Piece(group, rows[first:last], Among(first, len(rows))))
        before += len(rows)
    return found


class TargetFeed:
    """Outputs of the originals on each step's queries, from a cache of the whole pool if that pays.

    Permuted networks have the same outputs, so one row serves all views.

    Args:
        population: Executes networks.
        values: Training networks.
        pool: All queries that may be drawn.
        draws: Queries each network will see in all, if known; for fewer than the pool no cache is made.
        limit_mb: Largest cache.
        processes: Those that share the work; each keeps the whole cache, since networks are shuffled.
    """

    def __init__(
        self,
        population: Population,
        values: Float[Tensor, "networks params"],
        pool: Tensor,
        draws: int | None,
        limit_mb: float,
        processes: Processes = ALONE,
    ) -> None:
        self.population, self.values = population, values
        self._cache: Targets | None = None
        # A sample large enough for the population to time its engines on.
        classes = population.outputs_no_grad(values[:16], pool[:64]).shape[-1]
        size = len(values) * len(pool) * classes * 4 / 2**20
        fits = processes.largest([size - limit_mb])[0] <= 0
        if fits and (draws is None or draws > len(pool)):
            self._cache = _cached(population, values, pool, processes)
        else:
            log.info("outputs of the originals are computed in every step (a cache has %.0f MB)", size)

    def __call__(
        self, rows: Tensor, index: Tensor, inputs: Tensor
    ) -> Float[Tensor, "networks queries classes"]:
        """Return the outputs of some networks on some queries."""
        if self._cache is None:
            return self.population.outputs_no_grad(self.values[rows], inputs)
        return self._cache.take(rows, index.to(rows.device))


def _cached(population: Population, values: Tensor, pool: Tensor, processes: Processes) -> Targets:
    """Run the originals on the whole pool, a part in every process."""
    if processes.count == 1:
        return cache_targets(population, values, pool)
    part = processes.part(len(values))
    own = cache_targets(population, values[part], pool).outputs
    outputs = own.new_empty(len(values), *own.shape[1:])
    outputs[part] = own
    processes.fill(outputs)
    return Targets(outputs)
