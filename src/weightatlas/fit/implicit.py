"""Train an implicit decoder: its answers must be those of the original networks."""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.implicit import Implicit
from weightatlas.errors import RunError
from weightatlas.objectives.implicit import occupancy_error
from weightatlas.population.forward import Population
from weightatlas.runtime import generator_of
from weightatlas.weights.batch import batch_of, weights_of
from weightatlas.weights.spec import NetworkSpec


class ImplicitFit(Config):
    """Settings of the training.

    Args:
        steps: Optimizer steps.
        batch: Networks per step.
        points: Points per step, the same for all networks of it.
        lr: Peak learning rate, of one cycle.
        weight_decay: AdamW weight decay.
        loss: "occupancy" for signed distances, as in inr2vec, or "signal" for the plain squared error.
        seed: Of networks and points of every step.
    """

    steps: int = Field(default=1000, ge=1)
    batch: int = Field(default=64, ge=1)
    points: int = Field(default=1024, ge=1)
    lr: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    loss: str = Field(default="occupancy", pattern="^(occupancy|signal)$")
    seed: int = 0


def fit_implicit(
    encoder: Implicit,
    values: Float[Tensor, "networks params"],
    spec: NetworkSpec,
    population: Population,
    points: Float[Tensor, "pool coordinates"],
    config: ImplicitFit = ImplicitFit(),  # noqa: B008 (frozen)
) -> list[float]:
    """Train in memory, without checkpoints: it takes a minute.

    Args:
        encoder: Adapted and trained in place.
        values: Training networks.
        spec: Their layout.
        population: Runs them.
        points: Places to compare at.
        config: Length, sizes, rate.

    Returns:
        Loss of every step.

    Raises:
        RunError: The training diverged.
    """
    encoder.adapt(batch_of(values, spec))
    encoder.train()
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return _go(encoder, values, spec, population, points, config)


def _go(
    encoder: Implicit,
    values: Tensor,
    spec: NetworkSpec,
    population: Population,
    points: Tensor,
    config: ImplicitFit,
) -> list[float]:
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, config.steps)
    losses = []
    for step in range(config.steps):
        source = generator_of("implicit", config.seed, step)
        rows = torch.randperm(len(values), generator=source)[: config.batch].to(values.device)
        chosen = torch.randint(len(points), (config.points,), generator=source).to(points.device)
        wanted = population.outputs_no_grad(values[rows], points[chosen])
        codes = encoder.encode(weights_of(values[rows], spec)).codes
        outputs = encoder.outputs(codes, spec, points[chosen])
        each = occupancy_error(outputs, wanted) if config.loss == "occupancy" else (outputs - wanted).square()
        loss = each.mean()
        if not bool(torch.isfinite(loss)):
            raise RunError(f"The training diverged at step {step}.", todo="Lower lr.")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    encoder.eval()
    return losses
