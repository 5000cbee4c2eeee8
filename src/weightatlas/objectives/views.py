"""Views of networks: the same function in other neuron orders, noisy, or partly erased."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.weights.batch import Weights


class ViewConfig(Config):
    """How views are made. Every view starts from the weights as they are given, that is, aligned
    if the zoo was aligned.

    Args:
        permute: "second" permutes all views but the first (aligned + permuted did best in SANE's
            ablation), "all" permutes the first too, "none" permutes nothing.
        noise: Standard deviation of multiplicative Gaussian noise on every view.
        erase: Probability that a run of consecutive weights of a view is set to zero.
        erase_area: Smallest and largest share of the weights in that run.
    """

    permute: Literal["none", "second", "all"] = "second"
    noise: float = Field(default=0.0, ge=0)
    erase: float = Field(default=0.0, ge=0, le=1)
    erase_area: tuple[float, float] = (0.02, 0.33)


@dataclass(frozen=True, slots=True)
class Views:
    """Views of networks, view-major.

    Args:
        clean: What must be rebuilt: permuted, but without noise or erasing.
        inputs: What the encoder sees.
        count: Views per network.
    """

    clean: Weights
    inputs: Weights
    count: int


def make_views(weights: Weights, config: ViewConfig, count: int, generator: torch.Generator) -> Views:
    """Make `count` views of each network, on the fly: nothing is stored.

    Args:
        weights: Networks of one spec.
        config: Permutation, noise, erasing.
        count: Views per network.
        generator: Source of all choices, on the CPU.
    """
    values, spec = weights.values, weights.spec
    clean = [values if _stays(view, config) else _permuted(weights, generator) for view in range(count)]
    stacked = torch.cat(clean)
    noisy = _erased(_noisy(stacked, config.noise, generator), config, generator)
    rows = weights.rows.repeat(count)
    return Views(Weights(stacked, spec, rows), Weights(noisy, spec, rows), count)


def _stays(view: int, config: ViewConfig) -> bool:
    return config.permute == "none" or (config.permute == "second" and view == 0)


def _permuted(weights: Weights, generator: torch.Generator) -> Float[Tensor, "networks params"]:
    """Permute each network by its own random permutation, by one gather."""
    if not weights.spec.groups:
        return weights.values
    perms = tuple(p.to(weights.values.device) for p in sample(weights.spec, len(weights), generator))
    return permute(weights.values, perms, weights.spec)


def _noisy(
    values: Float[Tensor, "networks params"], noise: float, generator: torch.Generator
) -> Float[Tensor, "networks params"]:
    if noise == 0:
        return values
    return values * (1 + noise * torch.randn(values.shape, generator=generator).to(values.device))


def _erased(
    values: Float[Tensor, "networks params"], config: ViewConfig, generator: torch.Generator
) -> Float[Tensor, "networks params"]:
    """Set a random run of weights of some networks to zero (Schürholt et al., 2021)."""
    if config.erase == 0:
        return values
    count, params = values.shape
    chosen, area, start = torch.rand(3, count, 1, generator=generator)
    low, high = config.erase_area
    length = ((low + (high - low) * area) * params).long()
    begin = (start * (params - length + 1)).long()
    place = torch.arange(params)
    hit = (place >= begin) & (place < begin + length) & (chosen < config.erase)
    return values.masked_fill(hit.to(values.device), 0.0)
