"""Residual networks with batch norm: decoded with or without halo, statistics re-estimated or not."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.encoders.sane import Sane
from weightatlas.errors import ConfigError
from weightatlas.evaluate.distances import aligned
from weightatlas.evaluate.protocols.downstream import tuned, unseen
from weightatlas.evaluate.protocols.generation import anchors_of, codes_of
from weightatlas.evaluate.protocols.losses import Training, trained
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.evaluate.protocols.transfer import carried
from weightatlas.latent.sample import generate, noise_around
from weightatlas.population.recalibrate import recalibrate, with_valid_variances
from weightatlas.population.transplant import transplant
from weightatlas.results import Kind, Record
from weightatlas.runtime import generator_of, key_of
from weightatlas.tasks import create_task
from weightatlas.weights.batch import weights_of

COLUMNS = ("neither", "halo", "statistics", "both")
HEADS = "new head of five classes: "


class BatchnormConfig(Training):
    """Settings of `bench batchnorm`.

    Args:
        halo: Tokens of context on each side of a window; its own tokens are the trained window without both.
        count: Networks per method.
        anchors: Share of the training networks that serve as anchors, best by validation accuracy.
        method: How codes are drawn.
        epochs: Epochs of fine-tuning with a new head at which networks are judged.
        lr: Learning rate of fine-tuning.
    """

    halo: int = Field(ge=1)
    count: int = Field(ge=2)
    anchors: float = Field(default=0.3, gt=0, le=1)
    method: str = "neighborhood"
    epochs: tuple[int, ...]
    lr: float = 1e-3


cards["batchnorm"] = Card(
    "residual networks with batch norm: accuracy at epoch 0 with windows with halo, re-estimated running "
    "statistics, neither and both; new heads",
    "residual_digits",
    {"smoke": 0.5, "laptop": None, "paper": None},
    (*COLUMNS, "accuracy after 0", "accuracy after 1", "accuracy after 5"),
    settings=BatchnormConfig,
)


@benches.register("batchnorm")
def batchnorm(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Rebuild and draw residual networks window by window, and judge them before any fine-tuning.

    SANE is trained on windows of tokens by structure alone. Columns are mean test accuracies: decoded as
    it comes ("neither"), in windows with halo, with running means and variances estimated from unlabelled
    training images, and with both. Windows are equally long in all columns. Then each network gets a new head
    of five classes and is fine-tuned. Published for ResNet-18 on CIFAR-10: 10.0, 14.5, 60.8 and 64.8 %.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of training, draws and heads.
        cache: Folder of zoos and encoders; beside `out` by default.
        changes: Settings that differ from `presets/benches/batchnorm.yaml`.
    """
    settings = settings_of("batchnorm", tier, BatchnormConfig, changes)
    units = [Unit("rebuilt", seed, partial(records_of, seed=seed, settings=settings)) for seed in seeds]
    return run_units("batchnorm", tier, out, settings.recipe, units, (), cache)


def records_of(there: Stage, seed: int, settings: BatchnormConfig) -> list[Record]:
    """Train, decode in both kinds of windows, and measure all methods of one seed."""
    encoder = trained(there, "S", seed, settings)
    if not isinstance(encoder, Sane) or encoder.config.window is None:
        raise ConfigError(f"The preset '{settings.preset}' makes no SANE with windows.")
    size = encoder.config.window
    if size <= 2 * settings.halo:
        raise ConfigError(f"Windows of {size} tokens leave nothing between halos of {settings.halo}.")
    kinds = (encoder.windowed(size), encoder.windowed(size - 2 * settings.halo, settings.halo))
    found = []
    for method, (kind, plain, halo) in sets_of(there, kinds, seed, settings).items():
        numbers = conditioned(there, plain, halo)
        found += _records(there, method, kind, numbers, seed, len(plain))
    test = there.test_values[: settings.count]
    rebuilt = refreshed(there, decoded(there, kinds[1], test))
    return found + head_records(there, {"rebuilt": rebuilt, "zoo networks": test}, seed, settings)


def sets_of(
    there: Stage, kinds: tuple[Sane, Sane], seed: int, settings: BatchnormConfig
) -> dict[str, tuple[Kind, Tensor, Tensor]]:
    """Make the networks of every method: decoded without and with halo, the same where nothing is decoded."""
    test, count = there.test_values, settings.count
    anchors = anchors_of(there, settings.anchors)
    ordered = aligned(anchors, anchors[0], there.spec)
    drawn = []
    for encoder in kinds:
        codes = codes_of(encoder, ordered, there)
        source = generator_of("batchnorm", seed)
        drawn.append(generate(encoder, codes, there.spec, count, source, settings.method))
    pick = torch.rand(count, len(anchors), generator=generator_of("averages", seed)).argsort(1)[:, :3]
    averages = ordered[pick.to(ordered.device)].mean(1)
    noisy = noise_around(anchors, count, generator_of("noise", seed), there.spec, 0.1)
    return {
        "rebuilt": ("ours", decoded(there, kinds[0], test), decoded(there, kinds[1], test)),
        f"generated, {settings.method}": ("ours", drawn[0], drawn[1]),
        "zoo networks": ("baseline", test, test),
        "averaged anchors, aligned": ("baseline", averages, averages),
        "noise 0.1 around anchors": ("baseline", noisy, noisy),
    }


@torch.no_grad()
def decoded(
    there: Stage, encoder: Sane, values: Float[Tensor, "networks params"]
) -> Float[Tensor, "networks params"]:
    """Encode and decode networks, a chunk at a time."""
    return torch.cat([encoder.reconstruct(weights_of(part, there.spec)) for part in values.split(128)])


def refreshed(there: Stage, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks params"]:
    """Estimate running statistics anew from the unlabelled training images."""
    return recalibrate(there.network, there.spec, values, there.pool.inputs)


def conditioned(
    there: Stage, plain: Float[Tensor, "networks params"], halo: Float[Tensor, "networks params"]
) -> dict[str, float]:
    """Measure mean accuracy without either, with each and with both."""
    sets = (plain, halo, refreshed(there, plain), refreshed(there, halo))
    valid = [with_valid_variances(there.spec, values) for values in sets]
    scores = [there.exam.accuracy(there.exam.classes(values)) for values in valid]
    return {name: float(score.double().mean()) for name, score in zip(COLUMNS, scores, strict=True)}


def head_records(there: Stage, sets: dict[str, Tensor], seed: int, settings: BatchnormConfig) -> list[Record]:
    """Give networks new heads of five classes and fine-tune them, beside fresh ones."""
    task = create_task(there.task.name, **{**there.task.options, "classes": 5})
    network, spec = carried(there, task)
    found = []
    for name, values in sets.items():
        keys = torch.tensor([key_of("head", seed, i) for i in range(len(values))])
        start = transplant(values, there.spec, spec, keys)
        numbers = tuned(network, spec, task, start, settings.epochs, settings.lr, seed)
        kind: Kind = "ours" if name == "rebuilt" else "baseline"
        found += _records(there, HEADS + name, kind, numbers, seed, len(start))
    fresh = unseen(spec, settings.count, seed, "kaiming_uniform")
    numbers = tuned(network, spec, task, fresh, settings.epochs, settings.lr, seed)
    return found + _records(there, HEADS + "from scratch", "baseline", numbers, seed, len(fresh))


def _records(
    there: Stage, method: str, kind: Kind, numbers: dict[str, float], seed: int, count: int
) -> list[Record]:
    about = {"method": method, "kind": kind, "n": count, **there.about("batchnorm", seed)}
    return [Record.build({**about, "metric": metric, "value": value}) for metric, value in numbers.items()]
