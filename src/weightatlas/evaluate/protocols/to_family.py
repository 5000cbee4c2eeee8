"""Accuracy of networks of another family: encoders trained there beside encoders that never saw it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.cross import COLUMNS, CrossConfig, measured, units
from weightatlas.evaluate.protocols.cross_zoos import Crossing, Place
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, listed, run_on, settings_of
from weightatlas.evaluate.protocols.stage import cache_of
from weightatlas.results import Record

BENCH = "to_family"


class FamilyConfig(CrossConfig):
    """Settings of `bench to_family`.

    Args:
        at_home: Names of variants that are trained on the target family itself.
    """

    at_home: tuple[str, ...] = ("HyperRep",)


cards[BENCH] = Card(
    "test accuracy on another family of networks: HyperRep trained there beside SNE that never saw it",
    "search_8x8 (smoke, laptop), small_cnn_* and cnn_2464_* (paper)",
    {"smoke": 0.5, "laptop": None, "paper": None},
    COLUMNS[:-2],
    settings=FamilyConfig,
    lists=("methods", "at_home", "networks", "data"),
)


@benches.register(BENCH)
def to_family(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Train on one family, rank the networks of another of the same data; others are trained on the latter.

    "X, trained there" has seen training networks of the target family, "X" none of them. "tau over SNE" is
    the difference to SNE that was trained on the first family, for all rows.

    Args:
        tier: "smoke", "laptop" (8x8 images) or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and runs; beside `out` by default, shared with `cross_architecture`.
        changes: Settings that differ from `presets/benches/to_family.yaml`; `networks` are the family to
            train on and the target.

    Raises:
        ConfigError: There are not two families; a method or a setting is unknown.
    """
    settings = settings_of(BENCH, tier, FamilyConfig, listed(changes, *cards[BENCH].lists))
    if len(settings.networks) != 2:
        raise ConfigError(f"networks names {len(settings.networks)} families; two are needed.")
    first, second = settings.networks
    away = {(first, task): [(second, task)] for task in settings.tasks}
    work = units(away, settings, seeds, BENCH)
    for name in settings.at_home:
        known = (*settings.variants, *settings.together)
        if name not in known:
            raise ConfigError(f"There is no method '{name}' here.", todo=f"Known: {', '.join(known)}.")
        for seed in seeds:
            run = partial(at_home, method=name, seed=seed, networks=(first, second))
            work.append(Unit(f"{name}, trained there", seed, run))
    there = Crossing(settings, tier, cache or cache_of(out))
    return run_on(BENCH, tier, out, settings.label, work, lambda: there)


def at_home(there: Crossing, method: str, seed: int, networks: tuple[str, str]) -> list[Record]:
    """Train a method on the target family; the rival comes from the other."""
    first, second = networks
    routes: dict[Place, list[Place]] = {(second, task): [(second, task)] for task in there.settings.tasks}
    rivals = {(second, task): (first, task) for task in there.settings.tasks}
    records = measured(there, method, seed, routes, BENCH, rivals)
    return [record.replace(method=f"{method}, trained there") for record in records]
