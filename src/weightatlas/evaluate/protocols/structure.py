"""Every table and figure of "Structure Is Not Enough" by a name of its own, from trainings they share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.generation import anchors_of
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.evaluate.protocols.structure_trials import (
    TRIALS,
    StructureConfig,
    measured,
    quantiles,
)
from weightatlas.results import Record

ZOO = "zoo"
BY_NETWORK = ", split by network"
_QUALITY = ("agreement", "L2", "R2 test accuracy", "R2 generalization gap")


@dataclass(frozen=True)
class Exhibit:
    """A table or figure of the paper.

    Args:
        name: Of the bench.
        shows: What it is, in a line.
        trials: Names of the trainings it compares.
        metrics: Beginnings of the names of the numbers it shows.
        columns: Numbers of its printed table.
        recipe: Zoo; none takes that of the settings.
    """

    name: str
    shows: str
    trials: tuple[str, ...]
    metrics: tuple[str, ...]
    columns: tuple[str, ...]
    recipe: str | None = None


ROWS = ("CS", "B", "CB", "SB", "CSB")
_BETAS = ("CB", "CSB", *(f"CSB, beta {beta:g}" for beta in (0.2, 0.3, 0.4, 0.5)))
_QUERIES = ("CSB", "CSB, related queries", "CSB, uniform noise")
_VARIANTS = ("CSB", "CSB, logits", "CSB, cross-entropy", "CSB, distillation")
_ACCURACIES = ("accuracy at", "accuracy, rebuilt", "accuracy, generated")
_MEDIANS = ("accuracy, rebuilt at 50 %", "accuracy, generated at 50 %")

EXHIBITS: tuple[Exhibit, ...] = (
    Exhibit(
        *("structure_best", "Table 1: best accuracy of the zoo, of rebuilt and of generated networks"),
        *(("CS", "CSB"), ("best accuracy",)),
        ("best accuracy", "best accuracy, rebuilt", "best accuracy, generated"),
    ),
    Exhibit(
        *("structure_pairs", "Figure 2: distributions of distance and agreement of pairs, by loss"),
        *(ROWS, ("agreement", "L2")),
        ("agreement", "agreement at 5 %", "agreement at 50 %", "agreement at 95 %", "L2", "L2 at 50 %"),
    ),
    Exhibit(
        *("structure_accuracies", "Figure 3: accuracies of zoo, rebuilt and generated networks"),
        *(("CS", "CSB"), _ACCURACIES),
        ("accuracy at 50 %", *_MEDIANS, "accuracy, rebuilt at 100 %", "accuracy, generated at 100 %"),
    ),
    Exhibit(
        *("structure_zoo", "Figure 4: accuracies of the zoo by epoch"),
        *((), ("epoch",)),
        ("accuracy at 5 %", "accuracy at 50 %", "accuracy at 95 %"),
    ),
    Exhibit(
        *("structure_probes", "Figure 5 and D.1: R2 of probes after each pass of training, by loss"),
        *(ROWS, ("R2", "training seconds")),
        ("R2 test accuracy after pass 1", "R2 test accuracy", "R2 generalization gap", "training seconds"),
    ),
    Exhibit(
        *("structure_variants", "Figure 6: kinds of the behavioral loss"),
        *(_VARIANTS, ("loss after", "steps left out", *_QUALITY)),
        ("steps left out", *_QUALITY),
    ),
    Exhibit(
        *("structure_queries", "Figures 7 and 8: queries of the zoo, related images, uniform noise"),
        *(_QUERIES, ("accuracy, rebuilt", *_QUALITY)),
        (*_QUALITY, "accuracy, rebuilt at 50 %"),
    ),
    Exhibit(
        *("structure_compute", "Figure 9: half the passes with the behavioral loss against all without"),
        *(("CS", "CSB, half the passes", "CSB"), ("training seconds", "accuracy, rebuilt", *_QUALITY)),
        ("training seconds", *_QUALITY, "accuracy, rebuilt at 50 %"),
    ),
    Exhibit(
        *("structure_lenet5", "Figure 10: LeNet-5 (62,006 parameters; needs $WEIGHTATLAS_DATA)"),
        *(("CS", "CSB"), (*_ACCURACIES, "agreement", "L2")),
        ("agreement", "L2", *_MEDIANS),
        "lenet5_cifar10",
    ),
    Exhibit(
        *("structure_beta", "Tables 7 and 8: the share of the structural loss"),
        *(_BETAS, (*_QUALITY, "validation agreement")),
        ("validation agreement", *_QUALITY),
    ),
)


def show(
    exhibit: Exhibit,
    tier: str,
    out: str | Path,
    seeds: Sequence[int] = (0, 1, 2),
    cache: Path | None = None,
    **changes: Any,
) -> list[Record]:
    """Measure the trainings of one table or figure, and the zoo beside.

    Args:
        exhibit: Which.
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization, training and draws.
        cache: Folder of zoos and encoders, shared by all exhibits; beside `out` by default.
        changes: Settings that differ from `presets/benches/structure.yaml`.

    Raises:
        ConfigError: A trial is unknown.
        DataError: Related images are named, but $WEIGHTATLAS_DATA lacks them.
    """
    own = {} if exhibit.recipe is None else {"recipe": exhibit.recipe}
    settings = settings_of("structure", tier, StructureConfig, {**own, **changes})
    unknown = [name for name in settings.trials if name not in TRIALS]
    if unknown:
        raise ConfigError(f"There is no trial '{unknown[0]}'.", todo=f"Known: {'; '.join(TRIALS)}.")
    units = [Unit(ZOO, 0, partial(zoo_records, exhibit=exhibit, settings=settings))]
    for seed in seeds:
        for name in exhibit.trials:
            if settings.trials and name not in settings.trials:
                continue
            if TRIALS[name].queries == "related" and settings.related is None:
                continue
            work = partial(trial_records, exhibit=exhibit, name=name, seed=seed, settings=settings)
            units.append(Unit(name, seed, work))
            if name in ("CS", "CSB") and seed in settings.by_network:
                units.append(Unit(name + BY_NETWORK, seed, partial(work, by_network=True)))
    return run_units(exhibit.name, tier, out, settings.recipe, units, (), cache)


def trial_records(
    there: Stage,
    exhibit: Exhibit,
    name: str,
    seed: int,
    settings: StructureConfig,
    by_network: bool = False,
) -> list[Record]:
    """Train one trial, or look its numbers up, and pick what the exhibit shows."""
    where = there.divided("network") if by_network else there
    numbers = measured(where, name, seed, settings)
    about = {"method": name + BY_NETWORK * by_network, "kind": "ours", "n": len(where.test)}
    about |= where.about(exhibit.name, seed)
    return [
        Record.build({**about, "metric": metric, "value": value})
        for metric, value in numbers.items()
        if metric.startswith(exhibit.metrics)
    ]


def zoo_records(there: Stage, exhibit: Exhibit, settings: StructureConfig) -> list[Record]:
    """Describe the zoo's own networks: test networks, anchors, and every epoch."""
    if exhibit.name == "structure_zoo":
        return epoch_records(there)
    sets = {ZOO: there.test_values, "anchors": anchors_of(there, settings.anchors)}
    records = []
    for name, values in sets.items():
        accuracy = there.exam.accuracy(there.exam.classes(values))
        numbers = {"best accuracy": float(accuracy.max()), **quantiles("accuracy", accuracy)}
        about = {"method": name, "kind": "baseline", "n": len(values), **there.about(exhibit.name)}
        records += [Record.build({**about, "metric": m, "value": v}) for m, v in numbers.items()]
    return records


def epoch_records(there: Stage) -> list[Record]:
    """Describe the test accuracy of all networks of the zoo, epoch by epoch."""
    steps, scores = there.zoo.column("step"), torch.tensor(there.zoo.column("test_acc"))
    records = []
    for epoch in sorted({int(step) for step in steps}):
        values = scores[torch.from_numpy(steps == epoch)]
        about = {"method": f"epoch {epoch}", "kind": "baseline", "n": len(values)}
        about |= there.about("structure_zoo")
        found = quantiles("accuracy", values)
        records += [Record.build({**about, "metric": m, "value": v}) for m, v in found.items()]
    everything = {"method": ZOO, "kind": "baseline", "n": len(scores), **there.about("structure_zoo")}
    found = quantiles("accuracy", scores)
    return records + [Record.build({**everything, "metric": m, "value": v}) for m, v in found.items()]


def _bench(exhibit: Exhibit) -> Callable[..., list[Record]]:
    def bench(tier: str, out: str | Path, **options: Any) -> list[Record]:
        return show(exhibit, tier, out, **options)

    bench.__doc__ = f"{exhibit.shows} (Meynent et al., 2025).\n\n{show.__doc__}"
    return bench


for _exhibit in EXHIBITS:
    benches.register(_exhibit.name)(_bench(_exhibit))
    cards[_exhibit.name] = Card(
        f"Structure Is Not Enough, {_exhibit.shows}",
        _exhibit.recipe or "digits_mlp",
        {"smoke": 0.5, "laptop": None, "paper": None},
        _exhibit.columns,
        settings=StructureConfig,
        file="structure",
    )
