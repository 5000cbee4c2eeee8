"""Latent refinement: move codes until the decoded network behaves like its original."""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.charts import Chart
from weightatlas.errors import DataError
from weightatlas.population.forward import Population
from weightatlas.progress import track
from weightatlas.runtime import generator_of, threads

NEAR = 0.05  # distance from the surface within which errors of "distance" count most


class RefineConfig(Config):
    """Settings of refinement.

    Args:
        steps: Gradient steps.
        batch: Queries per step.
        lr: Learning rate; none takes the chart's.
        loss: "kl" of the rebuilt from the original output distribution, "softmax" or "logits" for
            the mean squared error of probabilities or raw outputs; "distance" counts errors of signed
            distances most where the original's surface is.
        settles: How often positions are put back on what codes can express, the end included.
        seed: Seed of the order of queries.
    """

    steps: int = Field(default=100, ge=0)
    batch: int = Field(default=128, ge=1)
    lr: float | None = Field(default=None, gt=0)
    loss: Literal["kl", "softmax", "logits", "distance"] = "kl"
    settles: int = Field(default=4, ge=1)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Refined:
    """Refined networks.

    Args:
        weights: Shape `(networks, params)`.
        positions: Chart positions behind them, shape `(networks, free)`.
        losses: Mean loss over networks where each step begins, on its queries.
    """

    weights: Float[Tensor, "networks params"]
    positions: Float[Tensor, "networks free"]
    losses: list[float] = field(default_factory=list)


def refine(
    chart: Chart,
    population: Population,
    targets: Float[Tensor, "networks queries classes"],
    queries: Tensor,
    config: RefineConfig = RefineConfig(),  # noqa: B008 (frozen)
) -> Refined:
    """Move each network's position so that its outputs on unlabelled queries approach the original's.

    All networks move at once, each by its own loss; the decoder behind the chart is not changed.
    Adam with a cosine schedule. Of the losses, KL refined best: excess agreement 0.32 after 300 steps,
    softmax errors 0.27, logit errors 0.20 (codes of an early prototype).

    Args:
        chart: Where to start and how to decode.
        population: Runs decoded networks.
        targets: Outputs of the originals on all queries.
        queries: Unlabelled inputs of the training split, shape `(queries, ...)`.
        config: Steps, batch, learning rate, loss.

    Raises:
        DataError: Targets, queries and networks differ in number.
    """
    check(chart, targets, queries)
    x = chart.start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr=config.lr or chart.lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(config.steps, 1))
    losses = []
    # Decoders of small networks are many small kernels: splitting each over threads gives little and
    # collapses when another program uses a core. Populations bring workers of their own.
    with threads(1), track(config.steps, "Refining codes") as bar:
        for step in range(1, config.steps + 1):
            index = draw(len(queries), config, step).to(queries.device)
            outputs = population(chart.decode(x), queries[index])
            loss = distance(outputs, targets[:, index], config.loss)
            (x.grad,) = torch.autograd.grad(loss.sum(), x)  # not backward(): the decoder keeps no gradient
            optimizer.step()
            schedule.step()
            losses.append(float(loss.mean().detach()))
            if chart.settle is not None and settles(config, step):
                with torch.no_grad():
                    x.copy_(chart.settle(x))
            bar.advance(note=f"loss {losses[-1]:.4f}")
    positions = x.detach()
    with torch.no_grad():
        return Refined(chart.decode(positions), positions, losses)


def distance(
    outputs: Float[Tensor, "networks queries classes"],
    targets: Float[Tensor, "networks queries classes"],
    kind: Literal["kl", "softmax", "logits", "distance"] = "kl",
) -> Float[Tensor, " networks"]:
    """Measure how far outputs are from those of the originals, one number per network."""
    if kind == "kl":
        logs = (outputs.log_softmax(-1), targets.log_softmax(-1))
        return F.kl_div(*logs, log_target=True, reduction="none").sum(-1).mean(1)
    if kind == "softmax":
        outputs, targets = outputs.softmax(-1), targets.softmax(-1)
    errors = (outputs - targets).square()
    if kind == "distance":
        errors = errors * ((-targets.abs() / NEAR).exp() + 0.1)
    return errors.mean((1, 2))


def check(chart: Chart, targets: Tensor, queries: Tensor) -> None:
    """Refuse targets that do not belong to the networks and queries.

    Raises:
        DataError: Targets, queries and networks differ in number.
    """
    if targets.shape[:2] != (len(chart.start), len(queries)):
        raise DataError(
            f"Refinement of {len(chart.start)} networks on {len(queries)} queries needs as many targets, "
            f"got {tuple(targets.shape[:2])}."
        )


def settles(config: RefineConfig, step: int) -> bool:
    """Say whether positions are put back on what codes can express after this step (counted from 1)."""
    return step in {config.steps * (i + 1) // config.settles for i in range(config.settles)}


def draw(pool: int, config: RefineConfig, step: int) -> Tensor:
    """Choose the queries of one step; a pass over the pool uses each query once."""
    per_pass = max(pool // config.batch, 1)
    turn, part = divmod(step - 1, per_pass)
    order = torch.randperm(pool, generator=generator_of("refine", config.seed, turn))
    return order[part * config.batch : (part + 1) * config.batch]
