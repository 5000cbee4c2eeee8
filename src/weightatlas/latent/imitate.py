"""Generated networks that are ready to use: drawn codes refined to behave like mixtures of anchors."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.encoders.charts import Chart
from weightatlas.errors import ConfigError
from weightatlas.latent.refine import RefineConfig, Refined, refine
from weightatlas.population.forward import Population


def parents_of(
    count: int, anchors: int, generator: torch.Generator, parents: int = 2
) -> Int[Tensor, "count parents"]:
    """Draw the anchors each new network is to behave like.

    Raises:
        ConfigError: There are fewer anchors than parents.
    """
    if not 1 <= parents <= anchors:
        raise ConfigError(f"{anchors} anchors cannot give each new network {parents} parents.")
    draws = torch.rand(count, anchors, generator=generator, device=generator.device)
    return draws.argsort(1)[:, :parents]


def mixture(
    outputs: Float[Tensor, "anchors queries classes"],
    chosen: Int[Tensor, "count parents"],
    generator: torch.Generator,
) -> Float[Tensor, "count queries classes"]:
    """Mix the predicted probabilities of each row's parents with random shares; returns their logarithms.

    Args:
        outputs: Raw outputs of the anchors on unlabelled queries.
        chosen: Parents of each new network.
        generator: Source of the shares, uniform over all mixtures.
    """
    shares = torch.rand(chosen.shape, generator=generator, device=generator.device).clamp_min(1e-9)
    shares = (-shares.log()).to(outputs)
    shares = shares / shares.sum(1, keepdim=True)
    logs = outputs.log_softmax(-1)
    mixed = torch.full_like(logs[:1], -torch.inf).expand(len(chosen), -1, -1)
    for turn in range(chosen.shape[1]):  # a few parents; all at once would hold them all in memory
        part = logs[chosen[:, turn].to(logs.device)] + shares[:, turn, None, None].log()
        mixed = torch.logaddexp(mixed, part)
    return mixed


def imitate(
    chart: Chart,
    population: Population,
    outputs: Float[Tensor, "anchors queries classes"],
    queries: Tensor,
    generator: torch.Generator,
    parents: int = 2,
    config: RefineConfig = RefineConfig(),  # noqa: B008 (frozen)
) -> Refined:
    """Move drawn codes until each decoded network behaves like a mixture of anchors of its own.

    Independent draws have weights of their own but do not work yet; behavior-trained decoders make
    all draws work by making them alike. Here each draw keeps its place in weight space, and has its own
    parents to imitate on unlabelled training images, so that weights and predictions stay diverse.

    Args:
        chart: Where the drawn codes stand, from `encoder.chart(codes, spec)`.
        population: Runs decoded networks.
        outputs: Raw outputs of the anchors on all queries.
        queries: Unlabelled inputs of the training split.
        generator: Source of parents and shares.
        parents: Anchors mixed into each target.
        config: Steps, batch, learning rate, loss.

    Returns:
        The networks, and the positions behind them.
    """
    chosen = parents_of(len(chart.start), len(outputs), generator, parents)
    return refine(chart, population, mixture(outputs, chosen, generator), queries, config)
