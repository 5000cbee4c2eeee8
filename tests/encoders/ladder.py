"""Three tiny architectures of one task, and populations of them, for tests of spaces of networks."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec

INPUTS, CLASSES = 4, 3
WIDTHS = (3, 5, 8)


def network(step: int) -> nn.Module:
    width = WIDTHS[step]
    return nn.Sequential(nn.Linear(INPUTS, width), nn.LeakyReLU(0.01), nn.Linear(width, CLASSES))


@lru_cache
def specs() -> tuple[NetworkSpec, ...]:
    return tuple(spec_of(network(step), (INPUTS,)) for step in range(3))


def populations(engine: str = "vmap") -> list[Population]:
    return [Population(network(step), spec, engine=engine) for step, spec in enumerate(specs())]


def values(step: int, count: int, seed: int = 0) -> Tensor:
    keys = torch.arange(count) + 1000 * seed + 17 * step
    return initialize(specs()[step], keys, "kaiming_uniform")


def batch(counts: tuple[int, ...] = (6, 6, 6), seed: int = 0) -> Batch:
    """Networks of every architecture that is asked for, one group each."""
    groups, start = [], 0
    for step, count in enumerate(counts):
        if count:
            rows = torch.arange(start, start + count)
            groups.append(Weights(values(step, count, seed), specs()[step], rows))
            start += count
    return Batch(tuple(groups))


def queries(count: int = 40) -> Tensor:
    return torch.randn(count, INPUTS, generator=torch.Generator().manual_seed(8))


def answers(inputs: Tensor) -> Tensor:
    """A rule that small networks can learn."""
    return inputs[:, :CLASSES].argmax(1)
