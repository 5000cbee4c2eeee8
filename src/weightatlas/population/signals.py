"""Fit one signal with each of many networks at once."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.population.forward import Population


def fit_signals(
    population: Population,
    start: Float[Tensor, "networks params"],
    inputs: Float[Tensor, "points coordinates"],
    targets: Float[Tensor, "networks points outputs"],
    steps: int,
    lr: float = 1e-3,
    on_step: Callable[[int], None] | None = None,
) -> tuple[Float[Tensor, "networks params"], Float[Tensor, " networks"]]:
    """Fit every network to its own targets by full-batch Adam with a cosine schedule.

    Adam works number by number, so networks side by side come out as they would alone.

    Args:
        population: Runs the networks.
        start: First weights.
        inputs: Places, the same for all networks.
        targets: Wanted outputs of each network there.
        steps: Optimizer steps.
        lr: First learning rate; it falls to zero.
        on_step: Called after each step with its number.

    Returns:
        Weights, and each network's mean squared error with them.
    """
    weights = start.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        errors = (population(weights, inputs) - targets).square().mean((1, 2))
        optimizer.zero_grad()
        errors.sum().backward()
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step + 1)
    weights = weights.detach()
    return weights, (population.outputs_no_grad(weights, inputs) - targets).square().mean((1, 2))
