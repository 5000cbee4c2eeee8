"""Accuracy of vision transformers, predicted by what was trained on CNNs of several data sets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weightatlas.evaluate.protocols.cross import COLUMNS, CrossConfig, units
from weightatlas.evaluate.protocols.cross_zoos import Crossing
from weightatlas.evaluate.protocols.registry import Card, benches, cards, listed, run_on, settings_of
from weightatlas.evaluate.protocols.stage import cache_of
from weightatlas.results import Record

BENCH = "to_vit"

cards[BENCH] = Card(
    "test accuracy of vision transformers predicted by what was trained on CNNs, all pairs of data sets",
    "search_8x8 and vit_8x8 (smoke, laptop), cnn_2464_* and vit_* (paper)",
    {"smoke": 0.5, "laptop": None, "paper": None},
    COLUMNS[:-2] + COLUMNS[-1:],
    settings=CrossConfig,
    lists=("methods", "networks", "data"),
)


@benches.register(BENCH)
def to_vit(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Train on the CNNs of one data set, rank the transformers of every data set (SNE, section 4.3).

    "tau" is the mean over all pairs, "tau: A/X to B/Y" that of one. Encoders of one layout take no part.

    Args:
        tier: "smoke", "laptop" (8x8 images) or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and runs; beside `out` by default, shared with `cross_dataset`.
        changes: Settings that differ from `presets/benches/to_vit.yaml`; the first of `networks` is trained
            on, the others are tested.

    Raises:
        ConfigError: A method or a setting is unknown.
    """
    settings = settings_of(BENCH, tier, CrossConfig, listed(changes, *cards[BENCH].lists))
    first, *others = settings.networks
    targets = [(network, task) for network in others for task in settings.tasks]
    routes = {(first, task): targets for task in settings.tasks}
    there = Crossing(settings, tier, cache or cache_of(out))
    work = units(routes, settings, seeds, BENCH)
    return run_on(BENCH, tier, out, settings.label, work, lambda: there)
