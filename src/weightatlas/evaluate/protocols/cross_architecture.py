"""Accuracy of networks of other architectures: train on zoos of one, test on zoos of another."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from weightatlas.evaluate.protocols.cross import COLUMNS, CrossConfig, units
from weightatlas.evaluate.protocols.cross_zoos import Crossing
from weightatlas.evaluate.protocols.registry import Card, benches, cards, listed, run_on, settings_of
from weightatlas.evaluate.protocols.stage import cache_of
from weightatlas.results import Record

cards["cross_architecture"] = Card(
    "test accuracy predicted across architectures: every ordered pair of them, nine pairs of data sets each",
    "search_8x8 (smoke, laptop), small_cnn_* and cnn_2464_* (paper)",
    {"smoke": 1.0, "laptop": None, "paper": None},
    COLUMNS[:-2] + COLUMNS[-1:],
    settings=CrossConfig,
    lists=("methods", "networks", "data"),
)


@benches.register("cross_architecture")
def cross_architecture(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Train on a zoo of one architecture, rank networks of every other, for all pairs of data (SNE, 4.3).

    "tau A to B" is the mean over the pairs of data sets from architecture A to B, "tau" that over all.
    Encoders tied to one layout take no part. Coverage is that of conformal intervals from the training zoo.

    Args:
        tier: "smoke", "laptop" (8x8 images) or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and runs; beside `out` by default, shared with `cross_dataset`.
        changes: Settings that differ from `presets/benches/cross_architecture.yaml`.

    Raises:
        ConfigError: A method or a setting is unknown.
    """
    changes = listed(changes, *cards["cross_architecture"].lists)
    settings = settings_of("cross_architecture", tier, CrossConfig, changes)
    routes: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for first, second in permutations(settings.networks, 2):
        for task in settings.tasks:
            routes.setdefault((first, task), []).extend((second, other) for other in settings.tasks)
    there = Crossing(settings, tier, cache or cache_of(out))
    work = units(routes, settings, seeds, "cross_architecture")
    return run_on("cross_architecture", tier, out, settings.label, work, lambda: there)
