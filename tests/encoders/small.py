"""A small population of classifiers that the tests of encoders, objectives and fit share."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from weightatlas.population.forward import Population
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.spec import NetworkSpec

INPUTS = 4
CLASSES = 3


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(INPUTS, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, CLASSES))


@lru_cache
def spec() -> NetworkSpec:
    return spec_of(network(), (INPUTS,))


def population() -> Population:
    return Population(network(), spec(), engine="vmap")


def values(count: int, seed: int = 0) -> Tensor:
    """Networks near a few prototypes, so that there is something to learn."""
    generator = torch.Generator().manual_seed(seed)
    prototypes = 0.5 * torch.randn(4, spec().params, generator=torch.Generator().manual_seed(99))
    mixing = torch.randn(count, 4, generator=generator)
    return mixing @ prototypes + 0.05 * torch.randn(count, spec().params, generator=generator)


def queries(count: int = 32) -> Tensor:
    return torch.randn(count, INPUTS, generator=torch.Generator().manual_seed(5))
