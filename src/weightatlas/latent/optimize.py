"""Latent optimization: train a network by moving its code, the decoder frozen."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.charts import Chart
from weightatlas.encoders.prep_autoencoder import PrepAutoencoder
from weightatlas.errors import DataError
from weightatlas.objectives.architecture import class_losses
from weightatlas.objectives.distillation import knowledge
from weightatlas.population.forward import Population
from weightatlas.population.score import score
from weightatlas.progress import track
from weightatlas.runtime import generator_of, threads
from weightatlas.weights.spec import NetworkSpec


class OptimizeConfig(Config):
    """Settings of latent optimization.

    Args:
        steps: Gradient steps.
        batch: Training inputs per step.
        lr: Learning rate; none takes the chart's. Published: 0.01 for one architecture, 0.0001 for four.
        alpha: Share of imitating the teacher; the rest is cross-entropy with the labels.
        temperature: Divides logits before the softmax.
        classes: Weight of staying in the wanted architecture.
        every: Steps between two looks at the validation inputs.
        seed: Seed of the order of inputs.
        begin: Steps done before, whose inputs are used up: a run in two halves sees the inputs of one run.
    """

    steps: int = Field(default=200, ge=1)
    batch: int = Field(default=128, ge=1)
    lr: float | None = Field(default=None, gt=0)
    alpha: float = Field(default=0.9, ge=0, le=1)
    temperature: float = Field(default=4.0, gt=0)
    classes: float = Field(default=1.0, ge=0)
    every: int = Field(default=10, ge=1)
    seed: int = 0
    begin: int = Field(default=0, ge=0)


@dataclass(frozen=True, slots=True)
class Lessons:
    """What networks are optimized on. Test inputs have no place here.

    Args:
        inputs: Training inputs.
        answers: Their classes.
        teacher: A teacher's outputs on them, or none to learn from the classes alone.
        held_inputs: Validation inputs, which choose the best step.
        held_answers: Their classes.
    """

    inputs: Tensor
    answers: Int[Tensor, " pool"]
    teacher: Float[Tensor, "pool classes"] | None
    held_inputs: Tensor
    held_answers: Int[Tensor, " held"]


@dataclass(frozen=True, slots=True)
class Optimized:
    """Optimized networks: for each, the position with the best validation accuracy.

    Args:
        weights: Shape `(networks, params)`.
        positions: Chart positions behind them.
        checks: Steps after which validation was looked at, the first 0.
        curve: Validation accuracy there, shape `(checks, networks)`.
    """

    weights: Float[Tensor, "networks params"]
    positions: Float[Tensor, "networks free"]
    checks: list[int]
    curve: Float[Tensor, "checks networks"]


def optimize(
    chart: Chart,
    population: Population,
    lessons: Lessons,
    config: OptimizeConfig = OptimizeConfig(),  # noqa: B008 (frozen)
    penalty: Callable[[Tensor], Tensor] | None = None,
) -> Optimized:
    """Optimize all networks of a chart at once, each by its own loss (Berardi et al., 2022, section IV).

    Adam on the positions; no gradient is kept for the decoder behind the chart. What is returned is the
    position that was measured (the released code keeps the one after its step).

    Args:
        chart: Start and decoder; `latent.charts` has the baselines, `code_chart` the codes.
        population: Runs decoded networks.
        lessons: Training and validation inputs.
        config: Steps, rates.
        penalty: Positions to a further loss per network, such as `stays_in_class`.

    Raises:
        DataError: Inputs, classes and teacher differ in number.
    """
    _check(lessons)
    x = chart.start.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr=config.lr or chart.lr)
    best, found, checks, curve = x.detach().clone(), torch.full((len(x),), -1.0), [], []
    with threads(1), track(config.steps, "Optimizing codes") as bar:
        for step in range(config.steps + 1):
            if step % config.every == 0 or step == config.steps:
                accuracy = _look(chart, population, lessons, x)
                better = accuracy > found
                found = torch.where(better, accuracy, found)
                best[better] = x.detach()[better]
                checks.append(step)
                curve.append(accuracy)
            if step == config.steps:
                break
            losses = _losses(chart, population, lessons, config, x, step)
            total = losses.sum() if penalty is None else (losses + config.classes * penalty(x)).sum()
            (x.grad,) = torch.autograd.grad(total, x)  # not backward(): the decoder keeps no gradient
            optimizer.step()
            bar.advance(note=f"validation accuracy {float(found.mean()):.4f}")
    with torch.no_grad():
        return Optimized(chart.decode(best), best, checks, torch.stack(curve))


def code_chart(
    encoder: PrepAutoencoder, codes: Float[Tensor, "networks 1 dim"], spec: NetworkSpec, lr: float = 0.01
) -> Chart:
    """Start at codes, decode them as networks of `spec`: the published way to optimize."""

    def decode(x: Tensor) -> Tensor:
        return encoder.decode(x[:, None], spec).weights

    return Chart(codes.detach()[:, 0], decode, codes.shape[2], lr)


def stays_in_class(encoder: PrepAutoencoder, spec: NetworkSpec) -> Callable[[Tensor], Tensor] | None:
    """Penalty that keeps codes in the class of an architecture; none if there is only one."""
    if len(encoder.ladder) < 2:
        return None
    rung = encoder.rung(spec)

    def penalty(x: Tensor) -> Tensor:
        wanted = torch.full((len(x),), rung, device=x.device)
        return class_losses(encoder.classify(x[:, None]), wanted)

    return penalty


def _losses(
    chart: Chart, population: Population, lessons: Lessons, config: OptimizeConfig, x: Tensor, step: int
) -> Float[Tensor, " networks"]:
    """Loss of every network on the inputs of one step."""
    pool = len(lessons.inputs)
    per_pass = max(pool // config.batch, 1)
    turn, part = divmod(config.begin + step, per_pass)
    order = torch.randperm(pool, generator=generator_of("optimize", config.seed, turn))
    index = order[part * config.batch : (part + 1) * config.batch].to(lessons.inputs.device)
    outputs = population(chart.decode(x), lessons.inputs[index])
    answers = lessons.answers[index]
    if lessons.teacher is None:
        return knowledge(outputs, torch.zeros_like(outputs), answers, 0.0)
    targets = lessons.teacher[index].expand(len(x), -1, -1)
    return knowledge(outputs, targets, answers, config.alpha, config.temperature)


@torch.no_grad()
def _look(chart: Chart, population: Population, lessons: Lessons, x: Tensor) -> Float[Tensor, " networks"]:
    """Validation accuracy of every network."""
    return score(population, chart.decode(x), lessons.held_inputs, lessons.held_answers)["acc"]


def _check(lessons: Lessons) -> None:
    counts = [len(lessons.inputs), len(lessons.answers)]
    counts += [] if lessons.teacher is None else [len(lessons.teacher)]
    held = [len(lessons.held_inputs), len(lessons.held_answers)]
    if len(set(counts)) > 1 or len(set(held)) > 1:
        raise DataError(
            f"Inputs, classes and teacher differ in number: {counts} for training, {held} for validation."
        )
