"""NetSpace's Table I on images: latent optimization on CIFAR-10 and on twenty classes of Tiny-ImageNet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field as Setting
from pydantic import model_validator

from weightatlas.evaluate.protocols import netspace_optimize as optimization
from weightatlas.evaluate.protocols.registry import Card, benches, cards, run_units, settings_of
from weightatlas.results import Record

BENCH = "netspace_table"


class TableConfig(optimization.OptimizeBench):
    """Settings of `bench netspace_table`: those of `bench netspace_optimize`, and the zoos.

    Args:
        recipe: Left out: every one of `recipes` takes its place.
        ladder: Left out: `ladders`.
        recipes: Zoos of one architecture.
        ladders: As many zoos of the smallest of several, on the same images.
    """

    recipe: str = ""
    ladder: str = ""
    recipes: tuple[str, ...] = Setting(min_length=1)
    ladders: tuple[str, ...] = Setting(min_length=1)

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if len(self.recipes) != len(self.ladders):
            raise ValueError(f"{len(self.recipes)} recipes need as many ladders, not {len(self.ladders)}")
        return self


cards[BENCH] = Card(
    "NetSpace, Table I: latent optimization on CIFAR-10 and Tiny-ImageNet (needs $WEIGHTATLAS_DATA)",
    "netspace_cifar10",
    {"smoke": 2, "laptop": None, "paper": None},
    ("accuracy", "initial accuracy", "validation accuracy after a fifth of the steps"),
    settings=TableConfig,
    lists=("recipes", "ladders"),
)


@benches.register(BENCH)
def netspace_table(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Optimize codes of image classifiers (Berardi et al., 2022, Table I), beside two baselines.

    The autoencoders are those of `bench netspace_cifar` and `bench netspace_cifar_ladder`, and of the same
    benches on Tiny-ImageNet. Whatever lies in the cache is not trained again.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of the autoencoders, of random starts and of the order of images.
        cache: Folder of zoos and encoders; beside `out` by default.
        changes: Settings that differ from `presets/benches/netspace_table.yaml`.

    Raises:
        ConfigError: There are not as many ladders as recipes, or another setting is wrong.
        DataError: $WEIGHTATLAS_DATA is not set or lacks a file.
    """
    settings = settings_of(BENCH, tier, TableConfig, changes)
    published, records = optimization.published_records(BENCH), []
    for recipe, ladder in zip(settings.recipes, settings.ladders, strict=True):
        units = optimization.units_of(BENCH, settings.replace(recipe=recipe, ladder=ladder), seeds)
        found = run_units(BENCH, tier, out, recipe, units, published, cache)
        records += [record for record in found if record.kind != "published"]
    return records + published
