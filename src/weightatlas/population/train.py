"""Train many networks of one function at once; a network's result depends on its own settings alone."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from weightatlas import runtime
from weightatlas.config import Config
from weightatlas.errors import ConfigError, gather
from weightatlas.population.blocks import Block, plan
from weightatlas.population.engines import Loss, cross_entropy
from weightatlas.population.initialize import initialize, schemes
from weightatlas.population.teams import Team
from weightatlas.weights.spec import NetworkSpec

log = logging.getLogger("weightatlas")

Data = Mapping[str, tuple[Tensor, Tensor]]


class TrainConfig(Config):
    """Everything that decides how one network comes out.

    Args:
        key: Signed 64-bit key of the network's random streams (order of data, dropout, first weights).
        init: Scheme of the first weights, see `initialize`.
        init_seed: Key of the first weights; the network's own key if none.
        init_std: Spread of "normal" and "truncated_normal" first weights; the scheme's own if none.
        optimizer: Update rule.
        lr: Learning rate.
        weight_decay: L2 decay; decoupled for adamw.
        momentum: For sgd and rmsprop.
        dropout: Probability of dropping, for every dropout layer of the network.
        batch_size: Images per step; an incomplete last batch of an epoch is left out.
        train_fraction: Share of the training images this network sees.
    """

    key: int = 0
    init: str = "kaiming_uniform"
    init_seed: int | None = None
    init_std: float | None = Field(default=None, gt=0)
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = "adam"
    lr: float = Field(default=1e-3, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    batch_size: int = Field(default=32, ge=1)
    train_fraction: float = Field(default=1.0, gt=0, le=1)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All networks after some epoch.

    Args:
        epoch: Epochs done; 0 is the first weights.
        weights: Networks as rows, in the order of the runs.
        metrics: "train_loss", "train_acc", ... per network, measured in eval mode after the epoch.
        finite: False for networks that diverged; they stay in place.
    """

    epoch: int
    weights: Float[Tensor, "networks params"]
    metrics: dict[str, Float[Tensor, " networks"]]
    finite: Bool[Tensor, " networks"]


def train(
    network: nn.Module,
    spec: NetworkSpec,
    data: Data,
    runs: Sequence[TrainConfig],
    epochs: int,
    checkpoints: Sequence[int] = (),
    *,
    engine: str = "auto",
    workers: int | None = None,
    memory_mb: float | None = None,
    loss: Loss = cross_entropy,
    start: Float[Tensor, "networks params"] | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> Iterator[Checkpoint]:
    """Train one network per run and yield all of them at chosen epochs.

    The result of a run depends on its settings alone, not on the other runs, the engine or the number of
    workers, up to floating-point reassociation.

    Args:
        network: Any module of the function; its own weights are ignored.
        spec: Its layout.
        data: Split -> (inputs, labels); "train" is trained on, all are measured.
        runs: Settings, one per network.
        epochs: Passes over the training images.
        checkpoints: Epochs to yield, 0 for the first weights; only the last if empty.
        engine: "auto" times all engines on the first step; or a name.
        workers: Threads that train blocks of networks side by side; all cores if none.
        memory_mb: Activations of one worker; if none, all workers share a quarter of the memory budget.
        loss: (outputs `(networks, batch, ...)`, labels `(networks, batch)`) -> losses `(networks,)`.
        start: First weights, a network a row, instead of those the runs would draw: fine-tuning.
        on_epoch: Called after each epoch with its number.

    Raises:
        ConfigError: The settings contradict each other or the data.
    """
    _check(network, data, runs, epochs, checkpoints)
    wanted = sorted(set(checkpoints)) or [epochs]
    device = data["train"][0].device
    keys = torch.tensor([r.key if r.init_seed is None else r.init_seed for r in runs], device=device)
    drawn = ([r.init for r in runs], [r.init_std for r in runs])
    weights = initialize(spec, keys, *drawn) if start is None else start.to(device).clone()
    if weights.shape != (len(runs), spec.params):
        shape, wanted = tuple(weights.shape), (len(runs), spec.params)
        raise ConfigError(f"The first weights have shape {shape}, the runs and the spec say {wanted}.")
    workers = workers or (runtime.cores() if device.type == "cpu" else 1)
    groups = plan(runs, workers)
    blocks = [Block(rows, [runs[i] for i in rows.tolist()], weights[rows], spec, data) for rows in groups]
    if memory_mb is None:
        memory_mb = runtime.memory_budget() / 4 / workers
    with Team(network, spec, data, blocks, engine, workers, memory_mb, loss) as team:
        for epoch in range(max(wanted) + 1):
            if epoch > 0:
                team.train(epoch)
                if on_epoch is not None:
                    on_epoch(epoch)
            if epoch in wanted:
                yield _checkpoint(epoch, blocks, team.measure(), len(runs), spec)


def _checkpoint(
    epoch: int, blocks: list[Block], measured: list[dict[str, Tensor]], count: int, spec: NetworkSpec
) -> Checkpoint:
    """Put the blocks back into the order of the runs."""
    device = blocks[0].weights.device
    weights = torch.empty(count, spec.params, device=device)
    metrics = {name: torch.empty(count, device=device) for name in measured[0]}
    for block, own in zip(blocks, measured, strict=True):
        weights[block.rows] = block.weights
        for name, value in own.items():
            metrics[name][block.rows] = value
    finite = torch.isfinite(weights).all(dim=1)
    if not finite.all():
        log.warning("%d of %d networks diverged by epoch %d", int((~finite).sum()), count, epoch)
    return Checkpoint(epoch, weights, metrics, finite)


def _check(
    network: nn.Module, data: Data, runs: Sequence[TrainConfig], epochs: int, checkpoints: Sequence[int]
) -> None:
    """Find every contradiction before the first step."""
    problems = []
    if not runs:
        problems.append("there are no runs")
    if "train" not in data:
        problems.append(f"the data have no 'train' split, only {', '.join(data) or 'nothing'}")
    if any(not 0 <= epoch <= epochs for epoch in checkpoints):
        problems.append(f"checkpoints {list(checkpoints)} do not lie in 0..{epochs}")
    problems += [
        f"there is no initialization '{name}'" for name in {r.init for r in runs} - set(schemes.names())
    ]
    has_dropout = any("Dropout" in type(module).__name__ for module in network.modules())
    if not has_dropout and any(run.dropout for run in runs):
        problems.append("runs ask for dropout, but the network has no dropout layer")
    images = len(data["train"][0]) if "train" in data else 0
    small = [r for r in runs if images and int(r.train_fraction * images) < r.batch_size]
    if small:
        worst = small[0]
        problems.append(
            f"{len(small)} runs have fewer images than a batch: {worst.train_fraction} of {images} "
            f"with batch_size {worst.batch_size}"
        )
    gather(ConfigError, problems, where="In the runs to train.")
