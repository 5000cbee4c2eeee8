"""Error against the number of training networks: SNE, DWSNet, NFT, statistics and ours on sine networks."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.inr_frequency import (
    PROPERTY,
    InrConfig,
    judged,
    name_of,
    sine_stage,
    trained_records,
)
from weightatlas.evaluate.protocols.inr_stage import SignalStage
from weightatlas.evaluate.protocols.inr_training import tuning_of
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, listed, run_on, settings_of
from weightatlas.evaluate.protocols.same_zoo import Variant
from weightatlas.evaluate.protocols.stage import cache_of
from weightatlas.fit.presets import preset
from weightatlas.predict.property import PropertyPredictor
from weightatlas.results import Kind, Record
from weightatlas.runtime import generator_of
from weightatlas.weights.batch import Batch, Weights

BENCH = "data_efficiency"
CURVES = ("MSE", "R2")
_CLOSED: dict[str, tuple[str, Any, Kind]] = {
    "layer statistics + boosting": ("layer_statistics", "boosting", "baseline"),
    "deep statistics + committee": ("deep_statistics", "committee", "ours"),
}


class Sized(Variant):
    """An encoder of the comparison.

    Args:
        lr: Peak learning rate, where it is not the preset's.
    """

    lr: float | None = Field(default=None, gt=0)


class EfficiencyConfig(InrConfig):
    """Settings of `bench data_efficiency`; networks as in `bench inr_frequency`.

    Args:
        shares: Shares of the training networks.
        updates: Optimizer steps of every encoder, at least; trainings end with a whole pass.
        variants: Name -> encoder.
        only: Names of methods; all by default.
    """

    passes: int = 1
    shares: tuple[float, ...]
    updates: int = Field(ge=1)
    variants: dict[str, Sized]
    only: tuple[str, ...] = ()


cards[BENCH] = Card(
    "error against the number of training networks: encoders and statistics on sine networks",
    "sines",
    {"smoke": 0.5, "laptop": None, "paper": None},
    ("MSE", "R2"),
    settings=EfficiencyConfig,
    lists=("only",),
)


@benches.register(BENCH)
def data_efficiency(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Train on shares of the training networks, judge on all test networks (Andreis et al., 2024, Figure 3).

    At one share all encoders take equally many steps: as many whole passes as hold `updates` of them, so
    that larger shares get some more (at laptop tier 80, 88 and 105). The state with the smallest error on all
    validation networks is judged. "MSE with n networks" are the points of the curves; "MSE" is that with all.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization, training, and the choice of the networks.
        cache: Folder of zoos and runs; beside `out` by default, shared with `bench inr_frequency`.
        changes: Settings that differ from `presets/benches/data_efficiency.yaml`.

    Raises:
        ConfigError: A method or a setting is unknown.
    """
    settings = settings_of(BENCH, tier, EfficiencyConfig, listed(changes, "only"))
    known = (*_CLOSED, *settings.variants)
    unknown = [name for name in settings.only if name not in known]
    if unknown:
        raise ConfigError(f"There is no method '{unknown[0]}'.", todo=f"Known: {', '.join(known)}.")
    units = [
        Unit(name, seed, partial(measured, name=name, seed=seed, settings=settings))
        for seed in seeds
        for name in settings.only or known
    ]
    place, zoo = cache or cache_of(out), name_of(settings)
    return run_on(BENCH, tier, out, zoo, units, partial(sine_stage, settings, tier, place))


def measured(there: SignalStage, name: str, seed: int, settings: EfficiencyConfig) -> list[Record]:
    """Train one method on every share."""
    records = []
    for share in settings.shares:
        less = fewer(there, share, seed)
        count = len(less.parts["train"])
        work = closed if name in _CLOSED else trained
        found = [r for r in work(less, name, seed, settings) if r.metric in CURVES]
        records += [r.replace(metric=f"{r.metric} with {count} networks") for r in found]
        records += found if share == max(settings.shares) else []
    return records


def fewer(there: SignalStage, share: float, seed: int) -> SignalStage:
    """Keep a share of the training networks, the same for all methods; larger shares hold smaller ones."""
    values, frequency = there.table("train")
    order = torch.randperm(len(values), generator=generator_of("data efficiency", seed))
    kept = order[: max(2, ceil(share * len(values)))]
    train = Weights(values[kept], there.spec, torch.arange(len(kept)))
    parts = {**there.parts, "train": Batch((train,), {PROPERTY: frequency[kept].float()})}
    return replace(there, parts=parts)


def closed(there: SignalStage, name: str, seed: int, settings: EfficiencyConfig) -> list[Record]:
    """Statistics with a head that is not trained by steps."""
    features, head, kind = _CLOSED[name]
    predictor = PropertyPredictor(features, head, seed=seed)
    predictor.fit(there.parts["train"], PROPERTY, there.parts["val"])
    return judged(there, name, kind, predictor.predict(there.parts["test"]), seed, bench=BENCH)


def trained(there: SignalStage, name: str, seed: int, settings: EfficiencyConfig) -> list[Record]:
    """Train an encoder."""
    variant = settings.variants[name]
    base = None if variant.preset is None else preset(variant.preset)
    own = {**({} if base is None else base.settings), **variant.settings}
    encoder = create_encoder(variant.encoder, there.spec, seed, **own)
    rates = {} if base is None else base.fit.model_dump(include={"lr", "weight_decay", "clip"})
    rates |= {} if variant.lr is None else {"lr": variant.lr}
    steps = ceil(len(there.parts["train"]) / settings.batch)
    length = settings.replace(passes=ceil(settings.updates / steps))
    tuning = tuning_of(there, length, seed, 0.0, rates)
    # Validation costs as much as training where a pass is short.
    often = max(1, ceil(length.passes / 5))
    tuning = tuning.replace(fit=tuning.fit.replace(validate_every=often))
    return trained_records(there, name, encoder, tuning, seed, BENCH)
