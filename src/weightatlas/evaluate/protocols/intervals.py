"""How often intervals hold the truth, over many random splits of a zoo, calibrated in several ways."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.evaluate.protocols.cross import CrossConfig, Crossing
from weightatlas.evaluate.protocols.refusals import or_refusal
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_on, settings_of
from weightatlas.evaluate.protocols.same_zoo import last
from weightatlas.evaluate.protocols.stage import cache_of, stage
from weightatlas.predict.features import features_of
from weightatlas.predict.heads import Table, fit_head
from weightatlas.predict.intervals import cross_bounds, radius
from weightatlas.predict.outoffold import out_of_fold
from weightatlas.results import Kind, Record
from weightatlas.runtime import numpy_generator_of
from weightatlas.zoo.zoo import Zoo

Ends = tuple[Float[Tensor, " networks"], Float[Tensor, " networks"]]
WAYS = ("validation networks", "out of fold", "out of fold, CV+", "out of fold, by size")


class IntervalsConfig(Config):
    """Settings of `bench intervals`.

    Args:
        recipe: Zoo of the first rows.
        heads: "features + head" -> number of random splits of it.
        across: The same for the zoos of `bench cross_dataset`; empty leaves them out.
        target: Property.
        level: Wanted coverage.
        folds: Folds of the training and validation networks.
    """

    recipe: str = "digits_search"
    heads: dict[str, int]
    across: dict[str, int] = {}
    target: str = "test_acc"
    level: float = Field(default=0.9, gt=0, lt=1)
    folds: int = Field(default=5, ge=2)


@dataclass(frozen=True)
class Divided:
    """One zoo with one kind of features, to be split in many ways.

    Args:
        table: Features and the property of all networks.
        lineage: Family of each.
        shares: Shares of train and val.
    """

    table: Table
    lineage: np.ndarray
    shares: tuple[float, float]

    def split(self, seed: int) -> tuple[Int[Tensor, " train"], Int[Tensor, " val"], Int[Tensor, " test"]]:
        """Deal families out to train, val and test at random, in the zoo's shares."""
        names, inverse = np.unique(self.lineage, return_inverse=True)
        place = numpy_generator_of("intervals", seed).permutation(len(names)) / len(names)
        part = np.searchsorted(np.cumsum(self.shares), place, side="right")[inverse]
        train, val, test = (torch.from_numpy(np.flatnonzero(part == number)) for number in range(3))
        return train, val, test


cards["intervals"] = Card(
    "coverage and width of 90 % intervals over many random splits, calibrated in several ways",
    "digits_search, search_8x8",
    {"smoke": 0.5, "laptop": None, "paper": None},
    ("coverage", "coverage, spread over splits", "width"),
    settings=IntervalsConfig,
)


@benches.register("intervals")
def intervals(
    tier: str, out: str | Path, seeds: Sequence[int] = (0,), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Split zoos anew by lineage, many times, and see how often intervals hold the truth.

    "validation networks": errors of the networks that also chose rounds or regularization. "out of fold":
    errors of training and validation networks under heads fitted and chosen without their fold, around the
    head of all. "CV+": around each fold's own head. "by size": errors in units of those of networks with
    similar predictions.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Decide no number: splits are numbered through.
        cache: Folder of zoos; beside `out` by default.
        changes: Settings that differ from `presets/benches/intervals.yaml`.
    """
    settings = settings_of("intervals", tier, IntervalsConfig, changes)
    place, found = cache or cache_of(out), []
    for name, opened in zoos_of(settings, tier, place).items():
        heads = settings.heads if name == settings.recipe else settings.across
        work = partial(measured, zoo=name, tier=tier, settings=settings)
        units = [
            Unit(
                f"{WAYS[0]}: {head}",
                seeds[0],
                partial(row, name, tier, head, partial(work, head=head, splits=splits)),
            )
            for head, splits in heads.items()
        ]
        found += run_on("intervals", tier, out, name, units, opened)
    return found


def zoos_of(settings: IntervalsConfig, tier: str, cache: Path) -> dict[str, Any]:
    """Name the zoos, each with what opens it."""
    found: dict[str, Any] = {settings.recipe: lambda: last(stage(settings.recipe, tier, cache)).zoo}
    if settings.across:
        there = Crossing(settings_of("cross_dataset", tier, CrossConfig, {}), tier, cache)
        for task in there.settings.tasks:
            place = there.settings.networks[0], task
            found["/".join(place)] = partial(there.zoo, place)
    return found


def row(zoo: str, tier: str, head: str, work: Callable[[Zoo], list[Record]], there: Zoo) -> list[Record]:
    """Measure one head on one zoo, or say why its features refuse the networks."""
    about = {"bench": "intervals", "tier": tier, "zoo": zoo, "method": f"{WAYS[0]}: {head}"}
    return or_refusal(partial(work, there), {**about, "kind": "baseline", "seeds": (0,)})


def measured(
    there: Zoo, zoo: str, tier: str, settings: IntervalsConfig, head: str, splits: int
) -> list[Record]:
    """Measure all ways to calibrate one head on one zoo."""
    features, _, kind = head.partition(" + ")
    data = divided(there, features.replace(" ", "_"), settings.target)
    found = [numbers_of(data, kind, settings, split) for split in range(splits)]
    records = []
    for way in WAYS:
        of_kind: Kind = "baseline" if way == WAYS[0] else "ours"
        about = {"bench": "intervals", "tier": tier, "zoo": zoo, "method": f"{way}: {head}"}
        coverage, width = zip(*(numbers[way] for numbers in found), strict=True)
        numbers = {"coverage": fmean(coverage), "width": fmean(width)}
        if len(coverage) > 1:
            numbers["coverage, spread over splits"] = stdev(coverage)
        for metric, value in numbers.items():
            fields = {"kind": of_kind, "metric": metric, "value": value, "n": len(found), "seeds": (0,)}
            records.append(Record.build({**about, **fields}))
    return records


@lru_cache(maxsize=8)
def divided(there: Zoo, features: str, target: str) -> Divided:
    """Describe all networks of a zoo once."""
    batch, shares = there.batch((target,)), there.header.split
    table = features_of(features, batch).cpu(), batch.labels[target].double().cpu()[:, None]
    return Divided(table, there.column("lineage").astype(str), (shares.train, shares.val))


def numbers_of(
    data: Divided, kind: str, settings: IntervalsConfig, seed: int
) -> dict[str, tuple[float, float]]:
    """Coverage and mean width of every way on the test networks of one split."""
    parts = data.split(seed)
    train, val, test = ((data.table[0][rows], data.table[1][rows]) for rows in parts)
    fit = partial(fit_head, kind, seed=seed)
    head = fit(train, val)
    relatives = data.lineage[torch.cat(parts[:2]).numpy()]
    found = out_of_fold(fit, train, val, relatives, folds=settings.folds)
    assert found is not None  # there are more families than folds
    center, level = head.predict(test[0])[:, 0], settings.level
    half = {
        WAYS[0]: radius(val[1] - head.predict(val[0]), level).expand(len(center)),
        WAYS[1]: radius(found.residuals, level).expand(len(center)),
        WAYS[3]: found.reach(center[:, None], level)[:, 0],
    }
    ends: dict[str, Ends] = {way: (center - reach, center + reach) for way, reach in half.items()}
    others = torch.stack([other.predict(test[0])[:, 0] for other in found.heads])  # type: ignore[attr-defined]
    ends[WAYS[2]] = cross_bounds(others, found.residuals[:, 0], found.fold, level)
    return {way: _judged(own, test[1][:, 0]) for way, own in ends.items()}


def _judged(ends: Ends, true: Float[Tensor, " networks"]) -> tuple[float, float]:
    held = (ends[0] <= true) & (true <= ends[1])
    return float(held.double().mean()), float((ends[1] - ends[0]).mean())
