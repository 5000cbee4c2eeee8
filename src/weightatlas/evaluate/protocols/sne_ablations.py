"""What SNE owes to each of its parts, and to the size of its chunks: the frequency of sine networks."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from weightatlas.config import Config
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.inr_frequency import (
    COLUMNS,
    InrConfig,
    mean_records,
    name_of,
    sine_stage,
    trained_records,
)
from weightatlas.evaluate.protocols.inr_stage import SignalStage
from weightatlas.evaluate.protocols.inr_training import tuning_of
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, listed, run_on, settings_of
from weightatlas.evaluate.protocols.stage import cache_of
from weightatlas.fit.presets import preset
from weightatlas.results import Record

BENCH = "sne_ablations"
FULL = "SNE"
# Andreis et al. (2024), Table 6 and the table of chunk sizes: MSE on the zoo of Navon et al. (2023). The size
# 32 is SNE itself, which is printed with two values.
_PRINTED = {
    FULL: 0.098,
    "without layer levels": 2.216,
    "without layer types": 0.128,
    "without set functions": 1.931,
    "without positions and hierarchy": 7.452,
    "without the regularizer": 0.156,
    "chunks of 4": 0.095,
    "chunks of 8": 0.090,
    "chunks of 16": 0.118,
    "chunks of 32": 0.056,
}
PUBLISHED = tuple(
    Record(
        bench=BENCH, tier="paper", zoo="Navon et al., sines", method=name, kind="published", metric="MSE",
        value=value,
    )
    for name, value in _PRINTED.items()
)  # fmt: skip


class Trial(Config):
    """SNE with a part taken out.

    Args:
        settings: What differs from the full encoder.
        regularized: The invariance regularizer is on.
    """

    settings: dict[str, Any] = {}
    regularized: bool = True


class AblationsConfig(InrConfig):
    """Settings of `bench sne_ablations`; networks and training as in `bench inr_frequency`.

    Args:
        preset: The full encoder and its learning rate.
        settings: What differs from the preset, for all.
        invariance: Weight of the regularizer.
        trials: Name -> what is taken out; empty is the full encoder.
        only: Names of trials; all by default.
    """

    preset: str = "sne_paper"
    settings: dict[str, Any] = {}
    invariance: float = Field(default=0.1, gt=0)
    trials: dict[str, Trial]
    only: tuple[str, ...] = ()


cards[BENCH] = Card(
    "SNE without each of its parts and with chunks of several sizes, on sine networks",
    "sines",
    {"smoke": 0.5, "laptop": None, "paper": None},
    COLUMNS,
    settings=AblationsConfig,
    lists=("only",),
)


@benches.register(BENCH)
def sne_ablations(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Take parts of SNE out, one at a time (Andreis et al., 2024, Table 6), and change the size of chunks.

    The paper does not say what stands in for a part. Here: levels and types are not added; without set
    functions every item is seen by itself and items are averaged; without positions and hierarchy nothing
    is added and a network is the set of its chunks. At the laptop tier the blocks are our residual ones, for
    the published ones learn nothing in minutes (docs/decisions.md).

    Args:
        tier: "smoke", "laptop" or "paper" (the published encoder).
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and runs; beside `out` by default, shared with `bench inr_frequency`.
        changes: Settings that differ from `presets/benches/sne_ablations.yaml`.

    Raises:
        ConfigError: A trial or a setting is unknown.
    """
    settings = settings_of(BENCH, tier, AblationsConfig, listed(changes, "only"))
    unknown = [name for name in settings.only if name not in settings.trials]
    if unknown:
        known = ", ".join(settings.trials)
        raise ConfigError(f"There is no trial '{unknown[0]}'.", todo=f"Known: {known}.")
    units = [Unit("mean predictor", 0, partial(mean_records, bench=BENCH))]
    for seed in seeds:
        for name in settings.only or settings.trials:
            units.append(Unit(name, seed, partial(measured, name=name, seed=seed, settings=settings)))
    place, zoo = cache or cache_of(out), name_of(settings)
    return run_on(BENCH, tier, out, zoo, units, partial(sine_stage, settings, tier, place), PUBLISHED)


def measured(there: SignalStage, name: str, seed: int, settings: AblationsConfig) -> list[Record]:
    """Train SNE as one trial has it, and judge it."""
    trial, chosen = settings.trials[name], preset(settings.preset)
    own = merged(merged(chosen.settings, settings.settings), trial.settings)
    encoder = create_encoder(chosen.encoder, there.spec, seed, **own)
    rates = chosen.fit.model_dump(include={"lr", "weight_decay", "clip"})
    weight = settings.invariance if trial.regularized else 0.0
    tuning = tuning_of(there, settings, seed, weight, rates)
    return trained_records(there, name, encoder, tuning, seed, BENCH)


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change settings, those within a setting one by one.

    Example:
        >>> merged({"dim": 64, "chunks": {"mode": "flat", "width": 32}}, {"chunks": {"width": 4}})
        {'dim': 64, 'chunks': {'mode': 'flat', 'width': 4}}
    """
    inner = {
        key: {**settings[key], **value}
        for key, value in changes.items()
        if isinstance(value, Mapping) and isinstance(settings.get(key), Mapping)
    }
    return {**settings, **changes, **inner}
