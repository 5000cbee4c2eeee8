"""How a network was trained, told from its weights: hyperparameters, epoch, training loss and gap."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from weightatlas.config import Config
from weightatlas.evaluate.properties import constant_records, property_records
from weightatlas.evaluate.protocols.refusals import or_refusal
from weightatlas.evaluate.protocols.registry import (
    Card,
    Unit,
    benches,
    cards,
    listed,
    run_units,
    settings_of,
)
from weightatlas.evaluate.protocols.same_zoo_rows import last, parsed
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.predict.kinds import PropertyKind, Scale, labelled, scales_of
from weightatlas.predict.property import PropertyPredictor
from weightatlas.results import Kind, Record
from weightatlas.zoo.zoo import Zoo

CONSTANT = "most frequent class, mean"


class TargetsConfig(Config):
    """Settings of `bench targets`.

    Args:
        recipe: Zoo: name of a recipe of the package, or path of a YAML file.
        targets: Properties of the last checkpoint of each network.
        along: Properties of every checkpoint, such as the epoch.
        kinds: Property -> kind; told from the columns for others.
        statistics: Statistics of weights with a head, "features + head".
    """

    recipe: str
    targets: tuple[str, ...] = Field(min_length=1)
    along: tuple[str, ...] = ("step",)
    kinds: dict[str, PropertyKind] = {}
    statistics: tuple[str, ...]


cards["targets"] = Card(
    "learning rate, weight decay, optimizer, initialization, epoch, training loss and gap from weights",
    "digits_search",
    {"smoke": None, "laptop": None, "paper": None},
    (
        *(f"log10 {name} Kendall tau" for name in ("hp.lr", "hp.weight_decay", "train_loss")),
        *(f"{name} accuracy" for name in ("hp.optimizer", "hp.init")),
        *(f"{name} Kendall tau" for name in ("step", "generalization_gap")),
    ),
    settings=TargetsConfig,
    lists=("targets", "along", "statistics"),
)


@benches.register("targets")
def targets(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Predict how test networks were trained: numbers by tau, R2 and error, classes by accuracy.

    Split by lineage; the last checkpoint of each network, but every checkpoint for the epoch. Wide positive
    ranges are learned and scored as decimal logarithms. Beside statistics with heads: the most frequent class
    or the mean of the training networks.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of committees; all other heads run once.
        cache: Folder of zoos; beside `out` by default.
        changes: Settings that differ from `presets/benches/targets.yaml`.

    Raises:
        ConfigError: A setting or a statistic is unknown.
    """
    settings = settings_of("targets", tier, TargetsConfig, listed(changes, "targets", "along", "statistics"))
    units = [_unit(CONSTANT, 0, settings)]
    for name in settings.statistics:
        own = seeds if parsed(name)[1] == "committee" else seeds[:1]
        units += [_unit(name, seed, settings) for seed in own]
    return run_units("targets", tier, out, settings.recipe, units, cache=cache)


def _unit(name: str, seed: int, settings: TargetsConfig) -> Unit:
    """A row of the table."""
    kind: Kind = "baseline" if name == CONSTANT else parsed(name)[2]

    def row(there: Stage) -> list[Record]:
        about = {"method": name, "kind": kind, **there.about("targets", seed)}
        return or_refusal(partial(measured, there, name, seed, settings, about), about)

    return Unit(name, seed, row)


def measured(
    there: Stage, name: str, seed: int, settings: TargetsConfig, about: dict[str, Any]
) -> list[Record]:
    """Predict all properties, numbers by one head and classes by another.

    Raises:
        SpecError: The statistics refuse these networks.
    """
    records = []
    for stage, names in ((last(there), settings.targets), (there, settings.along)):
        parts = {part: finite(stage.part(part), names) for part in ("train", "val", "test")}
        kinds = {key: kind for key, kind in settings.kinds.items() if key in names}
        scales = scales_of(parts["train"], names, kinds, parts["val"])
        for classes in (False, True):
            own = [scale for scale in scales if (scale.kind == "class") == classes]
            if own:
                records += scored(parts, own, name, seed, about)
    return records


def scored(
    parts: dict[str, Zoo], scales: Sequence[Scale], name: str, seed: int, about: dict[str, Any]
) -> list[Record]:
    """Scores of one head on the test networks."""
    train, true = (labelled(parts[part], scales).labels for part in ("train", "test"))
    if name == CONSTANT:
        found = [constant_records(train[s.name], true[s.name], s, **about) for s in scales]
        return [record for records in found for record in records]
    features, head, _ = parsed(name)
    predictor = PropertyPredictor(features, head, seed=seed)  # type: ignore[arg-type]
    names = tuple(scale.name for scale in scales)
    predictor.fit(parts["train"], names, parts["val"], scales=scales)
    predicted = predictor.learned(parts["test"])
    found = [property_records(predicted[:, t], true[s.name], s, **about) for t, s in enumerate(scales)]
    return [record for records in found for record in records]


def finite(zoo: Zoo, names: Sequence[str]) -> Zoo:
    """Leave out networks whose training loss, or another property, ran away."""
    keep = np.ones(len(zoo), bool)
    for name in names:
        column = zoo.column(name)
        if column.dtype.kind == "f":
            keep &= np.isfinite(column)
    return zoo if keep.all() else zoo[keep]
