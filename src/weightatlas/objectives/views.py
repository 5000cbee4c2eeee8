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


@dataclass(frozen=True, slots=True)
class Among:
    """Which networks of a step these are: choices are made for all of them, whoever works on which.

    Args:
        first: Place of the first of these networks in the step.
        total: Networks of the step.
    """

    first: int
    total: int


def make_views(
    weights: Weights,
    config: ViewConfig,
    count: int,
    generator: torch.Generator,
    among: Among | None = None,
) -> Views:
    """Make `count` views of each network, on the fly: nothing is stored.

    Args:
        weights: Networks of one spec.
        config: Permutation, noise, erasing.
        count: Views per network.
        generator: Source of all choices, on the CPU.
        among: The step these networks are a part of, if other processes work on the rest.
    """
    values, spec = weights.values, weights.spec
    among = among or Among(0, len(weights))
    kept = [_stays(view, config) for view in range(count)]
    clean = [values if stays else _permuted(weights, generator, among) for stays in kept]
    stacked = torch.cat(clean)
    noisy = _noisy(stacked, config.noise, count, generator, among)
    noisy = _erased(noisy, config, count, generator, among)
    rows = weights.rows.repeat(count)
    return Views(Weights(stacked, spec, rows), Weights(noisy, spec, rows), count)


def _stays(view: int, config: ViewConfig) -> bool:
    return config.permute == "none" or (config.permute == "second" and view == 0)


def _permuted(weights: Weights, generator: torch.Generator, among: Among) -> Float[Tensor, "networks params"]:
    """Permute each network by its own random permutation, by one gather."""
    if not weights.spec.groups:
        return weights.values
    drawn = sample(weights.spec, among.total, generator)
    own = slice(among.first, among.first + len(weights))
    return permute(weights.values, tuple(p[own].to(weights.values.device) for p in drawn), weights.spec)


def _own(
    drawn: Float[Tensor, "... all numbers"], own: int, among: Among
) -> Float[Tensor, "... rows numbers"]:
    """Cut what was drawn for the views of all networks of a step down to those of some of them."""
    each = drawn.unflatten(-2, (-1, among.total))
    return each[..., among.first : among.first + own, :].flatten(-3, -2)


def _noisy(
    values: Float[Tensor, "networks params"],
    noise: float,
    count: int,
    generator: torch.Generator,
    among: Among,
) -> Float[Tensor, "networks params"]:
    if noise == 0:
        return values
    drawn = torch.randn(count * among.total, values.shape[1], generator=generator)
    return values * (1 + noise * _own(drawn, len(values) // count, among).to(values.device))


def _erased(
    values: Float[Tensor, "networks params"],
    config: ViewConfig,
    count: int,
    generator: torch.Generator,
    among: Among,
) -> Float[Tensor, "networks params"]:
    """Set a random run of weights of some networks to zero (Schürholt et al., 2021)."""
    if config.erase == 0:
        return values
    params = values.shape[1]
    drawn = torch.rand(3, count * among.total, 1, generator=generator)
    chosen, area, start = _own(drawn, len(values) // count, among)
    low, high = config.erase_area
    length = ((low + (high - low) * area) * params).long()
    begin = (start * (params - length + 1)).long()
    place = torch.arange(params)
    hit = (place >= begin) & (place < begin + length) & (chosen < config.erase)
    return values.masked_fill(hit.to(values.device), 0.0)
