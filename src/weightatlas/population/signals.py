"""Fit one signal with each of many networks at once."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.population.forward import Population
from weightatlas.runtime import generator_of


def fit_signals(
    population: Population,
    start: Float[Tensor, "networks params"],
    inputs: Float[Tensor, "points coordinates"],
    targets: Float[Tensor, "networks points outputs"],
    steps: int,
    lr: float = 1e-3,
    on_step: Callable[[int], None] | None = None,
    batch: int | None = None,
    focus: float | None = None,
    seed: int = 0,
) -> tuple[Float[Tensor, "networks params"], Float[Tensor, " networks"]]:
    """Fit every network to its own targets by Adam with a cosine schedule.

    Adam works number by number, and a step takes the same places for all networks, so networks side by
    side come out as they would alone.

    Args:
        population: Runs the networks.
        start: First weights.
        inputs: Places, the same for all networks.
        targets: Wanted outputs of each network there.
        steps: Optimizer steps.
        lr: First learning rate; it falls to zero.
        on_step: Called after each step with its number.
        batch: Places per step; none takes all.
        focus: Errors count by `exp(-|target| / focus) + 0.1`, so that a signed distance is right where the
            surface is; none counts all alike.
        seed: Of the choice of places.

    Returns:
        Weights, and each network's mean squared error with them.
    """
    weights = start.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        places, wanted = _drawn(inputs, targets, batch, seed, step)
        errors = (population(weights, places) - wanted).square()
        if focus is not None:
            errors = errors * ((-wanted.abs() / focus).exp() + 0.1)
        errors = errors.mean((1, 2))
        optimizer.zero_grad()
        errors.sum().backward()
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step + 1)
    weights = weights.detach()
    return weights, (population.outputs_no_grad(weights, inputs) - targets).square().mean((1, 2))


def _drawn(inputs: Tensor, targets: Tensor, batch: int | None, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Choose the places of a step."""
    if batch is None or batch >= len(inputs):
        return inputs, targets
    index = torch.randint(len(inputs), (batch,), generator=generator_of("places", seed, step))
    index = index.to(inputs.device)
    return inputs[index], targets[:, index]
