"""Accuracy of networks that were trained on other data: train on one zoo, test on all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weightatlas.evaluate.protocols.cross import COLUMNS, CrossConfig, units
from weightatlas.evaluate.protocols.cross_zoos import Crossing
from weightatlas.evaluate.protocols.registry import Card, benches, cards, listed, run_on, settings_of
from weightatlas.evaluate.protocols.stage import cache_of
from weightatlas.results import Record

cards["cross_dataset"] = Card(
    "test accuracy predicted across data sets: train on one zoo, test on all; one architecture",
    "search_8x8 (smoke, laptop), small_cnn_* (paper)",
    {"smoke": 0.5, "laptop": None, "paper": None},
    COLUMNS,
    settings=CrossConfig,
    lists=("methods", "networks", "data"),
)


@benches.register("cross_dataset")
def cross_dataset(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Train every method on the networks of one data set and rank those of all (SNE, section 4.2).

    One architecture, last checkpoints, split by lineage. "tau" is the mean over all pairs, "tau from X"
    that of the row of a training zoo. Intervals are conformal, from networks of the training zoo that took no
    part in the fit: their coverage holds there and says elsewhere how far the networks are from it.

    Args:
        tier: "smoke", "laptop" (8x8 images) or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and runs; beside `out` by default.
        changes: Settings that differ from `presets/benches/cross_dataset.yaml`.

    Raises:
        ConfigError: A method or a setting is unknown.
    """
    settings = settings_of("cross_dataset", tier, CrossConfig, listed(changes, "methods", "networks", "data"))
    places = [(settings.networks[0], task) for task in settings.tasks]
    routes = dict.fromkeys(places, places)
    there = Crossing(settings, tier, cache or cache_of(out))
    work = units(routes, settings, seeds, "cross_dataset")
    return run_on("cross_dataset", tier, out, settings.label, work, lambda: there)
