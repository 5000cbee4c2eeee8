"""NetSpace, one architecture: accuracies of rebuilt networks, and of what lies between two of them."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field as Setting
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.charts import Chart
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.prep_autoencoder import PrepAutoencoder
from weightatlas.errors import ConfigError
from weightatlas.evaluate.compression import mean_network, nearest_network
from weightatlas.evaluate.distances import aligned
from weightatlas.evaluate.protocols.netspace_judge import Judge
from weightatlas.evaluate.protocols.netspace_pictures import draw_pictures
from weightatlas.evaluate.protocols.netspace_stage import Field, batch_of_fields, field_of, queries_of
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.fit.presets import preset
from weightatlas.fit.space import SpaceFit, fit_space
from weightatlas.latent.charts import chart_of, random_chart
from weightatlas.latent.interpolate import between_codes, between_weights, line
from weightatlas.latent.refine import RefineConfig, refine
from weightatlas.latent.repair import repair
from weightatlas.objectives.space import SpaceConfig
from weightatlas.results import Record
from weightatlas.runtime import key_of
from weightatlas.weights.batch import weights_of

BENCH = "netspace_reconstruct"
COLUMNS = (
    *("accuracy gap", "rank correlation", "R2 accuracy", "agreement", "excess agreement"),
    *("path linearity R2", "path barrier", "path Spearman", "path endpoint gap"),
)
# Distillation alone is the published loss; the two further terms are ours.
ALONE = {"performance": 0.0, "between": 0.0}
METHODS = {
    "netspace": {},
    "netspace, distillation alone": ALONE,
    "netspace, weight error": {**ALONE, "compare": "weights"},
}
Work = Callable[..., list[Record]]
"""From a judge, settings and the row to records."""


class ReconstructConfig(Config):
    """Settings of `bench netspace_reconstruct`.

    Args:
        recipe: Zoo of independent networks with many checkpoints.
        preset: Encoder and training, from `presets/encoders`.
        passes: Passes over the training networks.
        methods: Rows to measure, of "netspace", "netspace, distillation alone" and "netspace, weight error".
        pairs: Paths between two test networks, one at its first epoch, the other at its last.
        apart: Least difference of their validation accuracies, as far as there are such pairs.
        positions: Places on a path.
        steps: Steps of refinement: of the rows' codes, and of a random subspace of as many numbers.
        held: Networks that validate, and as many that test; by default 16 of 132, as published.
        engine: Engine that executes networks.
    """

    recipe: str
    preset: str = "netspace_small"
    passes: int = Setting(ge=1)
    methods: tuple[str, ...] = tuple(METHODS)
    pairs: int = Setting(default=56, ge=1)
    apart: float = Setting(default=0.3, ge=0, le=1)
    positions: int = Setting(default=26, ge=3)
    steps: int = Setting(default=100, ge=1)
    held: int | None = Setting(default=None, ge=2)
    engine: str = "batched"


cards[BENCH] = Card(
    "NetSpace, one architecture: accuracies of rebuilt networks, and of those between two",
    "netspace_digits",
    {"smoke": 0.4, "laptop": 15, "paper": None},
    COLUMNS,
    settings=ReconstructConfig,
)


@benches.register(BENCH)
def netspace_reconstruct(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Rebuild held-out networks from one code each (Berardi et al., 2022, Fig. 3), beside trivial rebuilds.

    Pictures of the first seed are drawn beside the results file: accuracies, paths, and networks as images.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and encoders; beside `out` by default.
        changes: Settings that differ from `presets/benches/netspace_reconstruct.yaml`.
    """
    settings = settings_of(BENCH, tier, ReconstructConfig, changes)
    units = units_of(BENCH, settings, seeds, Path(out))
    records = run_units(BENCH, tier, out, settings.recipe, units, cache=cache)
    draw_pictures(out, settings.methods)
    return records


def units_of(bench: str, settings: ReconstructConfig, seeds: Sequence[int], out: Path) -> list[Unit]:
    """List what a bench of one architecture measures: trivial rebuilds, straight lines, and every row.

    Points of the first seed are kept for pictures.
    """

    def unit(method: str, seed: int, work: Work, first: bool, **row: str) -> Unit:
        def judged(there: Stage) -> list[Record]:
            field = single(there, settings.engine, settings.held)
            return work(Judge(there, field, bench, seed, out if first else None), settings, **row)

        return Unit(method, seed, judged)

    units = [unit("nearest training network", 0, trivial_records, True)]
    units += [unit("raw weights", 0, line_records, True)]
    units += [unit("random subspace, refined", seed, subspace_records, seed == seeds[0]) for seed in seeds]
    return units + [
        unit(row, seed, row_records, seed == seeds[0], row=row) for seed in seeds for row in settings.methods
    ]


@lru_cache(maxsize=2)
def single(there: Stage, engine: str, held: int | None = None) -> Field:
    """Return the networks of the bench: every one stopped at an epoch of its own."""
    return field_of(there.zoo, spread=True, engine=engine, held=held, device=there.device)


def row_records(judge: Judge, settings: ReconstructConfig, row: str) -> list[Record]:
    """Train one row with one seed, rebuild the test networks, walk between them."""
    there, field, seed = judge.there, judge.field, judge.seed
    encoder = trained(there, row, seed, settings)
    with torch.no_grad():
        rebuilt = encoder.reconstruct(field.weights("test"))
    moved = refined(there, field, chart_of(encoder, field.weights("test")), seed, settings)
    start, end = anchors(field, settings.pairs, settings.apart)
    positions = torch.linspace(0, 1, settings.positions)
    path = between_codes(encoder, weights_of(start, field.spec), weights_of(end, field.spec), positions)
    ratio = {"parameters per code number": field.spec.params / encoder.config.dim}
    judge.drawn(rebuilt, row)
    return [
        *judge.rebuilt(rebuilt, row, "ours", ratio),
        *judge.rebuilt(moved, f"{row}, refined", "ours", ratio),
        *judge.walked(path, (start, end), positions, row, "ours"),
    ]


def subspace_records(judge: Judge, settings: ReconstructConfig) -> list[Record]:
    """Refine as many numbers for as many steps in a random subspace through the best training network."""
    field, seed = judge.field, judge.seed
    train, test = field.parts["train"], field.parts["test"]
    best, dim = train[int(field.scores["train"].argmax())], preset(settings.preset).settings["dim"]
    chart = random_chart(aligned(test, best, field.spec), best, dim, seed)
    moved = refined(judge.there, field, chart, seed, settings)
    return judge.rebuilt(moved, "random subspace, refined", "baseline")


def refined(
    there: Stage, field: Field, chart: Chart, seed: int, settings: ReconstructConfig
) -> Float[Tensor, "networks params"]:
    """Move positions until the networks answer unlabelled training images like the test networks."""
    queries = queries_of(there)[0].inputs
    targets = field.population.outputs_no_grad(field.parts["test"], queries)
    return refine(
        chart, field.population, targets, queries, RefineConfig(steps=settings.steps, seed=seed)
    ).weights


def trivial_records(judge: Judge, settings: ReconstructConfig) -> list[Record]:
    """Rebuild every test network as a training network, or as their mean; raw and aligned."""
    field = judge.field
    train, test = field.parts["train"], field.parts["test"]
    best = train[int(field.scores["train"].argmax())]
    turned = aligned(train, best, field.spec), aligned(test, best, field.spec)
    sets = {
        "best training network": best.expand(len(test), -1),
        "mean network": mean_network(train, len(test)).weights,
        "mean network, aligned": mean_network(turned[0], len(test)).weights,
        "nearest training network, aligned": nearest_network(turned[1], turned[0]).weights,
        "nearest training network": nearest_network(test, train).weights,
    }
    found = []
    for name, rebuilt in sets.items():
        found += judge.rebuilt(rebuilt, name, "baseline")
    return found


def line_records(judge: Judge, settings: ReconstructConfig) -> list[Record]:
    """Walk between the same networks on raw weights, on aligned weights, and repaired."""
    field = judge.field
    start, end = anchors(field, settings.pairs, settings.apart)
    positions = torch.linspace(0, 1, settings.positions)
    inputs = judge.there.pool.inputs[:512].to(start)
    paths = {
        "raw weights": between_weights(start, end, positions),
        "aligned weights": between_weights(start, end, positions, field.spec),
    }
    turned = paths["aligned weights"][:, -1]
    network = field.population.network
    paths["aligned weights, REPAIR"] = repair(
        network, field.spec, start, turned, line(start, turned, positions), positions, inputs
    )
    found = []
    for name, path in paths.items():
        found += judge.walked(path, (start, end), positions, name, "baseline")
    return found


def anchors(
    field: Field, pairs: int, apart: float
) -> tuple[Float[Tensor, "pairs params"], Float[Tensor, "pairs params"]]:
    """Join test networks at their first epoch with other test networks at their last.

    Every network takes part about equally often. Pairs whose validation accuracies are less than `apart`
    apart come last, the farthest of them first.
    """
    count = len(field.parts["early"])
    shift = torch.arange(1, max(count, 2)).repeat_interleave(count)
    weak = torch.arange(count).repeat(len(shift) // count)
    strong = (weak + shift) % count
    gain = field.scores["late"][strong] - field.scores["early"][weak]
    order = torch.where(gain >= apart, apart, gain).argsort(descending=True, stable=True)[:pairs]
    return field.parts["early"][weak[order]], field.parts["late"][strong[order]]


def trained(there: Stage, row: str, seed: int, settings: ReconstructConfig) -> PrepAutoencoder:
    """Train the autoencoder of a row, or read it back; an interrupted training continues.

    Raises:
        ConfigError: There is no such row, or the preset's encoder has no PReps.
    """
    if row not in METHODS:
        raise ConfigError(f"There is no row '{row}'.", todo=f"Rows: {', '.join(METHODS)}.")
    field, chosen = single(there, settings.engine, settings.held), preset(settings.preset)
    encoder = create_encoder(chosen.encoder, field.spec, seed, **chosen.settings)
    if not isinstance(encoder, PrepAutoencoder):
        raise ConfigError(f"The preset '{settings.preset}' is of '{encoder.name}', which has no PReps.")
    space = SpaceConfig.build({**chosen.space, **METHODS[row]})
    changes = {"passes": settings.passes, "seed": seed, "space": space, "device": str(there.device)}
    config = SpaceFit.build({**chosen.fit.model_dump(), "select": "val/gap", **changes})
    facts = (config.identity, settings.preset, chosen.settings, *([settings.held] if settings.held else []))
    mark = f"{key_of(*facts) & 0xFFFF_FFFF:08x}"
    folder = there.cache / "runs" / f"{there.name}-{there.tier}-seed{seed}-{mark}"
    pool, held = queries_of(there)
    validation = (batch_of_fields([field], "val"), held)
    train = batch_of_fields([field], "train")
    parts = {"queries": pool, "populations": [field.population], "validation": validation}
    fit_space(encoder, train, config, folder, **parts)
    return encoder.eval()
