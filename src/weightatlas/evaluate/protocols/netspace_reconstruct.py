"""NetSpace, one architecture: accuracies of rebuilt networks, and of what lies between two of them."""

from collections.abc import Sequence
from functools import lru_cache, partial
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
from weightatlas.evaluate.paths import measure_paths
from weightatlas.evaluate.protocols.netspace_stage import Field, batch_of_fields, field_of, queries_of
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.evaluate.reconstruction import compare
from weightatlas.evaluate.reference import reference_of
from weightatlas.fit.presets import preset
from weightatlas.fit.space import SpaceFit, fit_space
from weightatlas.latent.charts import chart_of, random_chart
from weightatlas.latent.interpolate import between_codes, between_weights, line
from weightatlas.latent.refine import RefineConfig, refine
from weightatlas.latent.repair import repair
from weightatlas.objectives.space import SpaceConfig
from weightatlas.results import Kind, Record
from weightatlas.runtime import key_of
from weightatlas.weights.batch import weights_of

BENCH = "netspace_reconstruct"
COLUMNS = (
    *("accuracy gap", "rank correlation", "R2 accuracy", "agreement", "excess agreement"),
    *("path linearity R2", "path barrier", "path Spearman", "path endpoint gap"),
)
# Distillation alone is the published loss; the two further terms are ours.
METHODS = {"netspace": {}, "netspace, distillation alone": {"performance": 0.0, "between": 0.0}}


class ReconstructConfig(Config):
    """Settings of `bench netspace_reconstruct`.

    Args:
        recipe: Zoo of independent networks with many checkpoints.
        preset: Encoder and training, from `presets/encoders`.
        passes: Passes over the training networks.
        methods: Rows to measure, of "netspace" and "netspace, distillation alone".
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

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and encoders; beside `out` by default.
        changes: Settings that differ from `presets/benches/netspace_reconstruct.yaml`.
    """
    settings = settings_of(BENCH, tier, ReconstructConfig, changes)
    return run_units(BENCH, tier, out, settings.recipe, units_of(BENCH, settings, seeds), cache=cache)


def units_of(bench: str, settings: ReconstructConfig, seeds: Sequence[int]) -> list[Unit]:
    """List what a bench of one architecture measures: trivial rebuilds, straight lines, and every row."""
    once = {"nearest training network": trivial_records, "raw weights": line_records}
    units = [Unit(name, 0, partial(found, settings=settings, bench=bench)) for name, found in once.items()]
    subspace = partial(subspace_records, settings=settings, bench=bench)
    units += [Unit("random subspace, refined", seed, partial(subspace, seed=seed)) for seed in seeds]
    return units + [
        Unit(row, seed, partial(row_records, row=row, seed=seed, settings=settings, bench=bench))
        for seed in seeds
        for row in settings.methods
    ]


@lru_cache(maxsize=2)
def single(there: Stage, engine: str, held: int | None = None) -> Field:
    """Return the networks of the bench: every one stopped at an epoch of its own."""
    return field_of(there.zoo, spread=True, engine=engine, held=held, device=there.device)


def row_records(
    there: Stage, row: str, seed: int, settings: ReconstructConfig, bench: str = BENCH
) -> list[Record]:
    """Train one row with one seed, rebuild the test networks, walk between them."""
    field = single(there, settings.engine, settings.held)
    encoder = trained(there, row, seed, settings)
    with torch.no_grad():
        rebuilt = encoder.reconstruct(field.weights("test"))
    moved = refined(there, field, chart_of(encoder, field.weights("test")), seed, settings)
    start, end = anchors(field, settings.pairs, settings.apart)
    positions = torch.linspace(0, 1, settings.positions)
    path = between_codes(encoder, weights_of(start, field.spec), weights_of(end, field.spec), positions)
    ratio = {"parameters per code number": field.spec.params / encoder.config.dim}
    return [
        *judged(there, field, rebuilt, row, "ours", seed, ratio, bench),
        *judged(there, field, moved, f"{row}, refined", "ours", seed, ratio, bench),
        *walked(there, field, path, (start, end), positions, row, "ours", seed, bench),
    ]


def subspace_records(
    there: Stage, seed: int, settings: ReconstructConfig, bench: str = BENCH
) -> list[Record]:
    """Refine as many numbers for as many steps in a random subspace through the best training network."""
    field = single(there, settings.engine, settings.held)
    train, test = field.parts["train"], field.parts["test"]
    best, dim = train[int(field.scores["train"].argmax())], preset(settings.preset).settings["dim"]
    chart = random_chart(aligned(test, best, field.spec), best, dim, seed)
    moved = refined(there, field, chart, seed, settings)
    return judged(there, field, moved, "random subspace, refined", "baseline", seed, bench=bench)


def refined(
    there: Stage, field: Field, chart: Chart, seed: int, settings: ReconstructConfig
) -> Float[Tensor, "networks params"]:
    """Move positions until the networks answer unlabelled training images like the test networks."""
    queries = queries_of(there)[0].inputs
    targets = field.population.outputs_no_grad(field.parts["test"], queries)
    return refine(
        chart, field.population, targets, queries, RefineConfig(steps=settings.steps, seed=seed)
    ).weights


def trivial_records(there: Stage, settings: ReconstructConfig, bench: str = BENCH) -> list[Record]:
    """Rebuild every test network as a training network, or as their mean; raw and aligned."""
    field = single(there, settings.engine, settings.held)
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
        found += judged(there, field, rebuilt, name, "baseline", bench=bench)
    return found


def line_records(there: Stage, settings: ReconstructConfig, bench: str = BENCH) -> list[Record]:
    """Walk between the same networks on raw weights, on aligned weights, and repaired."""
    field = single(there, settings.engine, settings.held)
    start, end = anchors(field, settings.pairs, settings.apart)
    positions = torch.linspace(0, 1, settings.positions)
    inputs = there.pool.inputs[:512].to(start)
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
        found += walked(there, field, path, (start, end), positions, name, "baseline", bench=bench)
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


def judged(
    there: Stage,
    field: Field,
    rebuilt: Float[Tensor, "networks params"],
    method: str,
    kind: Kind,
    seed: int = 0,
    further: dict[str, float] | None = None,
    bench: str = BENCH,
) -> list[Record]:
    """Compare rebuilt networks with their originals on the test images."""
    from scipy.stats import spearmanr

    exam, test = field.exam(there), field.parts["test"]
    reference = reference_of(exam, field.parts["train"], field.scores["train"], test, field.spec)
    found = compare(exam, test, rebuilt, reference)
    ours, true = found.accuracy.double().cpu(), found.original.double().cpu()
    varies = float(ours.std()) > 1e-9
    numbers = {
        "accuracy gap": float((ours - true).abs().mean()),
        "rank correlation": float(spearmanr(true, ours)[0]) if varies else 0.0,
        "R2 accuracy": float(1 - (ours - true).square().sum() / (true - true.mean()).square().sum()),
        "original accuracy": float(true.mean()),
        **(further or {}),
    }
    about = {"method": method, "kind": kind, "n": len(test), **there.about(bench, seed)}
    return [
        *found.records(method, kind, **there.about(bench, seed)),
        *(Record.build({**about, "metric": name, "value": value}) for name, value in numbers.items()),
    ]


def walked(
    there: Stage,
    field: Field,
    path: Float[Tensor, "paths positions params"],
    ends: tuple[Tensor, Tensor],
    positions: Float[Tensor, " positions"],
    method: str,
    kind: Kind,
    seed: int = 0,
    bench: str = BENCH,
) -> list[Record]:
    """Measure test accuracy along paths."""
    exam = field.exam(there)
    accuracy = exam.accuracy(exam.classes(path.flatten(0, 1))).view(path.shape[:2])
    original = torch.stack([exam.accuracy(exam.classes(end)) for end in ends], dim=1)
    measured = measure_paths(accuracy.cpu(), positions, original.cpu())
    return measured.records(method, kind, **there.about(bench, seed))


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
