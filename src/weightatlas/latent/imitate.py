"""Generated networks that are ready to use: drawn codes refined to behave like mixtures of anchors."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.encoders.charts import Chart
from weightatlas.errors import ConfigError
from weightatlas.latent.charts import free_chart
from weightatlas.latent.refine import RefineConfig, Refined, refine
from weightatlas.latent.sample import noise_around
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.weights.spec import NetworkSpec


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


def wider_pool(
    queries: Float[Tensor, "queries channels height width"],
    count: int,
    generator: torch.Generator,
    shift: int = 1,
) -> Float[Tensor, "count channels height width"]:
    """Make more unlabelled images from a few: moved by some pixels, and blended in pairs
    with uniform shares.

    Where imitators and anchors are compared on such images too, imitators follow anchors between
    the training images instead of only on them (blends as in Zhang et al., mixup, 2018).

    Example:
        >>> wider_pool(torch.zeros(3, 1, 8, 8), 10, torch.Generator()).shape
        torch.Size([10, 1, 8, 8])

    Args:
        queries: Unlabelled images of the training split.
        count: How many to make; the first are the originals themselves, as far as they fit.
        generator: Source of pairs, shares and moves.
        shift: Largest move in each direction, in pixels; what is moved in repeats the border.

    Raises:
        ConfigError: The shift is below 0.
    """
    if shift < 0:
        raise ConfigError(f"Images are moved by 0 pixels or more, not by {shift}.")
    kept = queries[:count]
    more = count - len(kept)
    if not more:
        return kept
    pairs = torch.randint(len(queries), (2, more), generator=generator, device=generator.device)
    first, second = (_moved(queries[row.to(queries.device)], shift, generator) for row in pairs)
    share = torch.rand(more, 1, 1, 1, generator=generator, device=generator.device).to(queries)
    return torch.cat([kept, share * first + (1 - share) * second])


def _moved(
    images: Float[Tensor, "images channels height width"], shift: int, generator: torch.Generator
) -> Float[Tensor, "images channels height width"]:
    """Move each image by its own number of pixels, by one gather."""
    _, _, height, width = images.shape
    size = (2, len(images), 1)
    drawn = torch.randint(-shift, shift + 1, size, generator=generator, device=generator.device)
    moves = drawn.to(images.device)
    rows = (torch.arange(height, device=images.device) + moves[0]).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + moves[1]).clamp(0, width - 1)
    each = torch.arange(len(images), device=images.device)[:, None, None]
    return images[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


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


def imitations(
    anchors: Float[Tensor, "anchors params"],
    spec: NetworkSpec,
    population: Population,
    queries: Tensor,
    count: int,
    generator: torch.Generator,
    sigma: float | None = None,
    parents: int = 5,
    lr: float = 1e-2,
    config: RefineConfig = RefineConfig(steps=600),  # noqa: B008 (frozen)
    outputs: Float[Tensor, "anchors queries classes"] | None = None,
) -> Float[Tensor, "count params"]:
    """Make new networks that imitate mixtures of anchors, from starts that know little of them or nothing.

    The start decides how new they are, the steps how good. `bench generation` shows the frontier: fresh
    starts end farther from every training network than these are from each other, noise of 0.4 less than
    half as far.

    Args:
        anchors: Good networks as rows, best first.
        spec: Their layout.
        population: Runs networks.
        queries: Unlabelled inputs of the training split; more of them, from `wider_pool`, pay in long runs.
        count: How many networks to make.
        generator: Source of starts, parents and shares.
        sigma: Start at anchors with noise, in units of the standard deviation of each tensor; none starts at
            fresh networks (Kaiming normal).
        parents: Anchors mixed into each target.
        lr: Learning rate of the imitation.
        config: Steps, batch and loss of the imitation.
        outputs: Outputs of the anchors on all queries, if they are already known.
    """
    if outputs is None:
        outputs = population.outputs_no_grad(anchors, queries)
    chart = free_chart(_starts(anchors, spec, count, generator, sigma), lr)
    parents = min(parents, len(anchors))
    return imitate(chart, population, outputs, queries, generator, parents, config).weights


def _starts(
    anchors: Tensor, spec: NetworkSpec, count: int, generator: torch.Generator, sigma: float | None
) -> Float[Tensor, "count params"]:
    """Noise around anchors, or fresh networks."""
    if sigma is not None:
        return noise_around(anchors, count, generator, spec, sigma)
    keys = torch.randint(1 << 62, (count,), generator=generator, device=generator.device)
    return initialize(spec, keys.cpu(), ["kaiming_normal"] * count).to(anchors)
