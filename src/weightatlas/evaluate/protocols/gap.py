"""How much of the gap to full agreement the behavioral loss closes, both losses tuned alike."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from weightatlas.atomic import write_text
from weightatlas.config import Config
from weightatlas.encoders.base import Autoencoder
from weightatlas.evaluate.distances import aligned
from weightatlas.evaluate.protocols.losses import Training, rebuild, training_of
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.evaluate.protocols.structure_trials import probe
from weightatlas.evaluate.reconstruction import compare
from weightatlas.fit.loop import fit
from weightatlas.objectives.views import ViewConfig
from weightatlas.predict.property import PropertyPredictor
from weightatlas.results import Kind, Record
from weightatlas.runtime import key_of
from weightatlas.weights.batch import Batch, Weights

ROWS = ("CS", "CSB")
CLOSED = "CSB against CS"
FLOORS = ("ridge", "boosting")


class Aid(Config):
    """One trial of the tuning, the same for both losses.

    Args:
        lr: Peak learning rate.
        align: Bring all networks into the neuron order of the best training network, and permute no views.
    """

    lr: float = Field(gt=0)
    align: bool = False

    def __str__(self) -> str:
        return f"rate {self.lr:g}, {'aligned' if self.align else 'permuted views'}"


class GapConfig(Training):
    """Settings of `bench gap`.

    Args:
        recipes: Zoos; each is tuned by itself.
        trials: What is tried with each loss, judged on validation networks.
    """

    recipes: tuple[str, ...]
    trials: tuple[Aid, ...] = Field(min_length=1)


cards["gap"] = Card(
    "share of the gap to full agreement that the behavioral loss closes, two zoos, equally many trials",
    "digits_mlp",
    {"smoke": 0.3, "laptop": None, "paper": None},
    ("share of the gap closed", "agreement", "excess agreement", "R2 test accuracy", "validation agreement"),
    settings=GapConfig,
)


@benches.register("gap")
def gap(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Tune CS and CSB by equally many trials on two zoos, and compare the agreement they reach.

    All structural aids are open to both: the linear path started at PCA, scaling per layer, permuted views
    or alignment of all networks. Trials are run with the first seed and chosen by agreement on validation
    networks and images; the chosen one is trained with all seeds and judged on test networks and images.
    The share of the gap closed is (CSB - CS) / (1 - CS), seed by seed.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and encoders; beside `out` by default.
        changes: Settings that differ from `presets/benches/gap.yaml`.

    Raises:
        DataError: $WEIGHTATLAS_DATA is not set or lacks the data of a zoo.
    """
    settings = settings_of("gap", tier, GapConfig, changes)
    records = []
    for recipe in settings.recipes:
        own = settings.replace(recipe=recipe)
        units = [Unit("layer statistics + ridge", 0, floor_records)]
        units += [Unit(CLOSED, seed, partial(records_of, seed=seed, settings=own)) for seed in seeds]
        records += run_units("gap", tier, out, recipe, units, (), cache)
    return records


def records_of(there: Stage, seed: int, settings: GapConfig) -> list[Record]:
    """Train the chosen trial of both losses with one seed; the first seed writes all trials."""
    found, agreement = [], {}
    for row in ROWS:
        tried = [measured(there, row, aid, 0, settings) for aid in settings.trials]
        best = max(range(len(tried)), key=lambda place: tried[place]["validation agreement"])
        if seed == 0:
            for aid, numbers in zip(settings.trials, tried, strict=True):
                found += _records(there, f"{row}, trial: {aid}", "ours", numbers, seed)
        chosen = measured(there, row, settings.trials[best], seed, settings)
        found += _records(there, row, "ours", chosen, seed)
        agreement[row] = chosen["agreement"]
    closed = (agreement["CSB"] - agreement["CS"]) / (1 - agreement["CS"])
    return found + _records(there, CLOSED, "ours", {"share of the gap closed": closed}, seed)


def measured(there: Stage, row: str, aid: Aid, seed: int, settings: GapConfig) -> dict[str, float]:
    """Train one trial with one seed and judge it; numbers are kept in the stage's cache."""
    encoder, config = training_of(there, row, seed, settings)
    views = ViewConfig(permute="none") if aid.align else config.views
    config = config.replace(lr=aid.lr, views=views)
    mark = f"{key_of(config.identity, settings.preset, encoder.config, aid.align) & 0xFFFF_FFFF:08x}"
    folder = there.cache / "runs" / f"gap-{there.name}-{there.tier}-{mark}"
    kept = folder / "measured.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    ordered = there.once(("aligned",), lambda: aligned_stage(there)) if aid.align else there
    population = there.zoo.population(engine=settings.engine)
    fit(encoder, ordered.train, config, folder, queries=there.pool, population=population)
    numbers = judged(ordered, encoder)
    write_text(kept, json.dumps(numbers, indent=1, allow_nan=False))
    return numbers


def aligned_stage(there: Stage) -> Stage:
    """Return the stage with all networks in the neuron order of its best training network."""
    made = Stage(there.zoo, there.tier, there.cache, str(there.device), there.name, there.by)
    reference = there.train_values[there.best]
    for part in ("train", "val", "test"):
        batch = there.batch(part)
        groups = tuple(Weights(aligned(g.values, reference, g.spec), g.spec, g.rows) for g in batch)
        made.replace_batch(part, Batch(groups, batch.labels))
    return made


@torch.no_grad()
def judged(there: Stage, encoder: Autoencoder) -> dict[str, float]:
    """Measure agreement on validation and on test networks, and the probe of accuracy."""
    held, _ = rebuild(encoder, there.weights("val"))
    exam = there.exam_on("val")
    same = exam.classes(held) == exam.classes(there.val_values)
    values, _ = rebuild(encoder, there.weights("test"))
    result = compare(there.exam, there.test_values, values, there.reference)
    return {
        "validation agreement": float(same.double().mean()),
        "agreement": float(result.agreement.double().mean()),
        "excess agreement": result.excess,
        "accuracy error": float((result.accuracy - result.original).double().mean()),
        "R2 test accuracy": probe(there, encoder)["R2 test accuracy"],
    }


def floor_records(there: Stage) -> list[Record]:
    """Predict accuracy from layer statistics: the line that probes of codes must not fall below."""
    found = []
    for head in FLOORS:
        fitted = PropertyPredictor("layer_statistics", head).fit(there.train, "test_acc", there.val)
        numbers = {"R2 test accuracy": fitted.score(there.test, "r2")}
        found += _records(there, f"layer statistics + {head}", "baseline", numbers, 0)
    trivial = {"agreement": there.reference.a0, "excess agreement": 0.0}
    return found + _records(there, "best trivial rebuild (a0)", "baseline", trivial, 0)


def _records(there: Stage, method: str, kind: Kind, numbers: dict[str, float], seed: int) -> list[Record]:
    about = {"method": method, "kind": kind, "n": len(there.test), **there.about("gap", seed)}
    return [Record.build({**about, "metric": metric, "value": value}) for metric, value in numbers.items()]
