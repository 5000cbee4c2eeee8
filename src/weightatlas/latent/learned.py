"""Learned refinement: an update rule trained on training networks takes the place of Adam."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightatlas.encoders.charts import Chart
from weightatlas.latent.refine import RefineConfig, Refined, check, distance, draw, settles
from weightatlas.population.forward import Population
from weightatlas.progress import track
from weightatlas.runtime import threads

BETAS = (0.5, 0.9, 0.99)
COUNTED = 5  # last steps of a window whose losses the rule is judged by


class LearnedSteps(nn.Module):
    """Turns the gradients of a position into steps: Adam with a learned correction and learned rates.

    Every coordinate is moved by the same small network, which sees the coordinate's gradient averaged
    over three horizons and scaled as in Adam, how large its gradients are beside others of its part, and how
    far refinement has come. Each part (a tensor of the network, or the whole code) has a rate of its
    own. Before learning, the rule is Adam with a cosine schedule.

    Args:
        parts: Coordinates of each part, in order.
        lr: Rate to start from.
        hidden: Width of the small network.
    """

    owner: Int[Tensor, " free"]

    def __init__(self, parts: tuple[int, ...], lr: float, hidden: int = 16) -> None:
        super().__init__()
        self.rates = nn.Parameter(torch.full((len(parts),), lr).log())
        self.correction = nn.Sequential(nn.Linear(len(BETAS) + 2, hidden), nn.SiLU(), nn.Linear(hidden, 1))
        nn.init.zeros_(self.correction[2].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.correction[2].bias)  # type: ignore[arg-type]
        index = torch.arange(len(parts)).repeat_interleave(torch.tensor(parts))
        self.register_buffer("owner", index, persistent=False)

    def forward(self, memory: "Memory", done: float) -> Float[Tensor, "networks free"]:
        """Say how far each coordinate moves, at `done` (0 to 1) of the way."""
        averages = memory.averages()
        size = memory.size()
        mean = torch.zeros(len(size), len(self.rates)).to(size).index_add_(1, self.owner, size)
        mean = mean / torch.bincount(self.owner, minlength=len(self.rates)).to(size)
        relative = (size / mean[:, self.owner].clamp_min(1e-12) + 1e-3).log()
        time = torch.full_like(size, done)
        seen = torch.stack([*averages, relative, time], dim=-1)
        direction = averages[1] + self.correction(seen).squeeze(-1)
        fading = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * done)))
        return -fading * self.rates.exp()[self.owner] * direction


@dataclass(slots=True)
class Memory:
    """Running averages of gradients, as Adam keeps them, over three horizons.

    Args:
        first: Averages of gradients, one per horizon, shape `(networks, free)` each.
        second: Average of squared gradients.
        count: Gradients seen.
    """

    first: list[Tensor]
    second: Tensor
    count: int = 0

    @classmethod
    def like(cls, x: Tensor) -> "Memory":
        """Start without any memory of positions like `x`."""
        return cls([torch.zeros_like(x) for _ in BETAS], torch.zeros_like(x))

    def add(self, gradient: Tensor) -> None:
        """Take a gradient in."""
        self.count += 1
        self.first = [b * m + (1 - b) * gradient for b, m in zip(BETAS, self.first, strict=True)]
        self.second = 0.99 * self.second + 0.01 * gradient.square()

    def size(self) -> Tensor:
        """Root mean square of each coordinate's gradients."""
        return (self.second / (1 - 0.99**self.count)).sqrt()

    def averages(self) -> list[Tensor]:
        """Averages in units of that root mean square."""
        unit = self.size() + 1e-8
        return [m / (1 - b**self.count) / unit for b, m in zip(BETAS, self.first, strict=True)]


def learn_steps(
    sets: Callable[[int], tuple[Chart, Float[Tensor, "networks queries classes"]]],
    population: Population,
    queries: Tensor,
    config: RefineConfig,
    rounds: int = 16,
    window: int = 25,
    lr: float = 3e-3,
) -> LearnedSteps:
    """Learn an update rule by unrolling it on training networks.

    The loss is the sum of what refinement reaches after each step, in units of where each network
    started. Gradients are taken as given (no second derivatives), so that learning costs
    what refining costs.

    Args:
        sets: Round -> training networks as a chart, and their outputs on all queries.
        population: Runs decoded networks.
        queries: Unlabelled inputs of the training split.
        config: Steps, batch and loss that the rule is learned for.
        rounds: Refinements it is learned from.
        window: Steps through which the rule is unrolled before it is corrected.
        lr: Learning rate of the rule's own Adam.
    """
    chart, targets = sets(0)
    rule = LearnedSteps(chart.parts or (chart.start.shape[1],), config.lr or chart.lr).to(chart.start.device)
    optimizer = torch.optim.Adam(rule.parameters(), lr=lr)

    def correct(surrogate: Tensor) -> None:
        optimizer.zero_grad()
        surrogate.backward()
        nn.utils.clip_grad_norm_(rule.parameters(), 1.0)
        optimizer.step()

    with threads(1), track(rounds, "Learning refinement steps") as bar:
        for turn in range(rounds):
            chart, targets = (chart, targets) if turn == 0 else sets(turn)
            own = config.replace(seed=config.seed + 1 + turn)
            done = _unroll(rule, chart, population, targets, queries, own, correct, window)
            bar.advance(note=f"loss {done.losses[-1]:.4f}")
    return rule


def refine_learned(
    rule: LearnedSteps,
    chart: Chart,
    population: Population,
    targets: Float[Tensor, "networks queries classes"],
    queries: Tensor,
    config: RefineConfig = RefineConfig(),  # noqa: B008 (frozen)
) -> Refined:
    """Refine with a learned rule; arguments and result are those of `refine`."""
    check(chart, targets, queries)
    with threads(1), torch.no_grad():
        return _unroll(rule, chart, population, targets, queries, config)


def _unroll(
    rule: LearnedSteps,
    chart: Chart,
    population: Population,
    targets: Tensor,
    queries: Tensor,
    config: RefineConfig,
    correct: Callable[[Tensor], None] | None = None,
    window: int = 25,
) -> Refined:
    """Walk from the chart's start by the rule; `correct` gets a loss of the rule after every window."""
    x, memory = chart.start.clone(), Memory.like(chart.start)
    losses, surrogate, first = [], torch.zeros(()), None
    for step in range(1, config.steps + 1):
        index = draw(len(queries), config, step).to(queries.device)
        gradient, each = _gradient(chart, population, x.detach(), targets[:, index], queries[index], config)
        losses.append(float(each.mean()))
        first = each.clamp_min(1e-6) if first is None else first
        memory.add(gradient)
        if correct is not None:
            # x depends on the rule through the steps of this window, and the loss on x by `gradient`. Only
            # the last steps count: a rule that is to please at once learns steps that are too short.
            if (step - 1) % window >= window - COUNTED:
                surrogate = surrogate + (gradient * x / first[:, None]).sum() / (len(x) * COUNTED)
            if step % window == 0 and surrogate.requires_grad:
                correct(surrogate)
                surrogate, x = torch.zeros(()), x.detach()
        x = x + rule(memory, (step - 1) / config.steps)
        if chart.settle is not None and settles(config, step):
            with torch.no_grad():
                x = chart.settle(x.detach())
            surrogate = torch.zeros(())
    with torch.no_grad():
        return Refined(chart.decode(x.detach()), x.detach(), losses)


@torch.enable_grad()
def _gradient(
    chart: Chart, population: Population, x: Tensor, targets: Tensor, queries: Tensor, config: RefineConfig
) -> tuple[Tensor, Tensor]:
    """Return the gradient of each network's loss in its own position, and the losses."""
    x = x.requires_grad_(True)
    loss = distance(population(chart.decode(x), queries), targets, config.loss)
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    return gradient, loss.detach()
