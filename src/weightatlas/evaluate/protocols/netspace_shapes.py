"""NetSpace on signals: networks of shapes and images rebuilt, found again, and walked between."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.base import Autoencoder
from weightatlas.encoders.charts import Chart
from weightatlas.encoders.implicit import Implicit, ImplicitConfig
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.prep_autoencoder import PrepAutoencoder
from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.field_pictures import Ends, path_records
from weightatlas.evaluate.protocols.field_scores import judged, majority, retrieved
from weightatlas.evaluate.protocols.field_stage import BENCH, FieldStage, field_stage
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_on, settings_of
from weightatlas.evaluate.protocols.stage import cache_of
from weightatlas.fit.implicit import ImplicitFit, fit_implicit
from weightatlas.fit.space import SpaceFit, fit_space
from weightatlas.fit.space_step import SpaceQueries
from weightatlas.latent.refine import RefineConfig, refine
from weightatlas.objectives.space import SpaceConfig
from weightatlas.objectives.views import ViewConfig
from weightatlas.results import Record
from weightatlas.runtime import generator_of, key_of
from weightatlas.weights.batch import Batch, Weights, weights_of
from weightatlas.zoo.fields import field_recipe

COLUMNS = (
    *("likeness", "likeness, 10th percentile", "parameters per code number"),
    *("nearest shape@1", "nearest shape@5", "class accuracy", "class accuracy, linear", "path slope error"),
)


class ShapesConfig(Config):
    """Settings of `bench netspace_shapes`.

    Args:
        recipe: Networks, from `presets/fields`: shapes ("chairs", "furniture", "primitives") or images.
        judged: Test networks that are judged, at most.
        side: Cells along an edge of the cube on which solids are compared.
        dim: Numbers of the code of the closed-form space, and of the random subspace.
        steps: Steps of refining codes.
        batch: Points per step of refining.
        small: Numbers of the code of the trained NetSpace and of the implicit autoencoder.
        passes: Passes of the trained NetSpace over the training networks.
        lessons: Steps of training the implicit autoencoder.
        pairs: Paths between judged networks.
        positions: Places on a path.
        pictures: Draw a path, and write its meshes, beside the results (needs the extra `shapes`).
        methods: Rows to measure besides the trivial ones; all by default.
    """

    recipe: str
    judged: int = Field(default=40, ge=2)
    side: int = Field(default=32, ge=4)
    dim: int = Field(default=1280, ge=1)
    steps: int = Field(default=500, ge=1)
    batch: int = Field(default=512, ge=1)
    small: int = Field(default=256, ge=1)
    passes: int = Field(ge=1)
    lessons: int = Field(ge=1)
    pairs: int = Field(default=6, ge=1)
    positions: int = Field(default=7, ge=3)
    pictures: bool = True
    methods: tuple[str, ...] = ()


cards[BENCH] = Card(
    "NetSpace on signals: shapes and images rebuilt from codes of their networks, and paths between them",
    "primitives (smoke), chairs (laptop; needs $WEIGHTATLAS_DATA)",
    {"smoke": 0.5, "laptop": None, "paper": None},
    COLUMNS,
    settings=ShapesConfig,
)


@benches.register(BENCH)
def netspace_shapes(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Rebuild held-out networks of shapes (Berardi et al., 2022, Fig. 4), beside trivial rebuilds.

    "likeness" is the overlap (IoU) of the solid a rebuilt network represents with that of its original; for
    images the share of their variance. Refining moves codes by Adam until the rebuilt network answers like
    its original at points near training shapes; all refined rows take equal steps.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization, training and refining.
        cache: Folder of zoos; beside `out` by default.
        changes: Settings that differ from `presets/benches/netspace_shapes.yaml`.

    Raises:
        DataError: Chairs were asked for, and $WEIGHTATLAS_DATA is not set.
    """
    settings = settings_of(BENCH, tier, ShapesConfig, changes)
    recipe, place = field_recipe(settings.recipe, tier), cache or cache_of(out)
    given: dict[str, Any] = {"settings": settings, "folder": Path(out).parent}
    units = [Unit("nearest shape", 0, trivial_records)]
    rows = {
        "signal space, refined": closed_records,
        "random subspace, refined": random_records,
        "netspace, trained": trained_records,
        "implicit": implicit_records,
    }
    methods = settings.methods or tuple(rows)
    unknown = [name for name in methods if name not in rows]
    if unknown:
        raise ConfigError(f"There is no row '{unknown[0]}'.", todo=f"Rows: {', '.join(rows)}.")
    units += [Unit(name, seed, partial(rows[name], seed=seed, **given)) for seed in seeds for name in methods]
    prepare = partial(field_stage, recipe, tier, place, settings.side, settings.judged)
    return run_on(BENCH, tier, out, recipe.name, units, prepare)


def trivial_records(there: FieldStage) -> list[Record]:
    """Rebuild every judged network as a training network, as their mean, or by plain PCA."""
    train, test = there.values["train"], there.values["test"]
    mean = train.mean(0, keepdim=True)
    axes = torch.linalg.svd(train - mean, full_matrices=False)[2]
    by_weights = torch.cdist(test, train).argmin(1)
    found = {
        "mean network": there.fields(mean).expand_as(there.test_fields),
        "mean shape": there.train_fields.mean(0).expand_as(there.test_fields),
        "PCA of weights": there.fields(mean + (test - mean) @ axes.T @ axes),
        "nearest by weights": there.train_fields[by_weights],
        "nearest shape": there.train_fields[there.overlaps.argmax(1)],
    }
    records = [r for name, fields in found.items() for r in judged(there, fields, name, "baseline")]
    records += majority(there)
    return [*records, *retrieved(there, [train, test], "nearest by weights", "baseline")]


def closed_records(there: FieldStage, seed: int, settings: ShapesConfig, folder: Path) -> list[Record]:
    """Rebuild through the closed-form space, plain and refined; walk between refined codes."""
    encoder = create_encoder("signal_space", there.spec, seed, dim=min(settings.dim, there.spec.params))
    encoder = encoder.to(there.device)
    encoder.bind(there.zoo.network(), there.points)
    encoder.adapt(_batch(there, "train"))
    assert isinstance(encoder, Autoencoder)
    test = weights_of(there.values["test"], there.spec)
    codes = encoder.encode(test).codes
    plain = encoder.decode(codes, there.spec).weights
    chart = encoder.chart(codes, there.spec)
    weights, positions = refined(there, chart, seed, settings)
    more = {"parameters per code number": there.spec.params / chart.numbers}
    embeddings = [encoder.embed(_batch(there, part)) for part in ("train", "test")]
    return [
        *judged(there, there.fields(plain), "signal space", "ours", seed, more),
        *judged(there, there.fields(weights), "signal space, refined", "ours", seed, more),
        *retrieved(there, embeddings, "signal space, refined", "ours", seed),
        *walked(there, "signal space, refined", chart, positions, seed, settings, folder),
    ]


def random_records(there: FieldStage, seed: int, settings: ShapesConfig, folder: Path) -> list[Record]:
    """Refine in a random subspace of as many numbers around the mean network."""
    train, numbers = there.values["train"], min(settings.dim, there.spec.params)
    mean, spread = train.mean(0), train.std(0)
    drawn = torch.randn(numbers, there.spec.params, generator=generator_of("subspace", seed)).to(train)
    directions = drawn * spread / numbers**0.5
    start = torch.zeros(len(there.values["test"]), numbers).to(train)
    chart = Chart(start, lambda x: mean + x @ directions, numbers, lr=0.3)
    weights, _ = refined(there, chart, seed, settings)
    more = {"parameters per code number": there.spec.params / numbers}
    return judged(there, there.fields(weights), "random subspace, refined", "baseline", seed, more)


def trained_records(there: FieldStage, seed: int, settings: ShapesConfig, folder: Path) -> list[Record]:
    """Rebuild through the compact NetSpace, trained to answer like originals (Eq. 2), plain and refined."""
    sizes = {"dim": settings.small, "hidden": 512, "features": 8, "token": 32, "inner": 128, "align": False}
    encoder = create_encoder("netspace", there.spec, seed, **sizes)
    assert isinstance(encoder, PrepAutoencoder)
    config = SpaceFit(
        passes=settings.passes,
        batch=16,
        lr=2e-3,
        weight_decay=0.0,
        schedule="onecycle",
        queries=256,
        validate_every=max(settings.passes // 4, 1),
        seed=seed,
        device=str(there.device),
        space=SpaceConfig(compare="signal"),
        views=ViewConfig(permute="none"),
    )
    mark = f"{key_of(config.identity, sizes, there.recipe.model_dump_json()) & 0xFFFF_FFFF:08x}"
    run = there.cache / "runs" / f"{there.name}-{there.tier}-netspace-seed{seed}-{mark}"
    queries, held = SpaceQueries(there.points), (_batch(there, "val"), SpaceQueries(there.points[:2048]))
    parts: dict[str, Any] = {"queries": queries, "populations": [there.population], "validation": held}
    fit_space(encoder, _batch(there, "train"), config, run, **parts)
    with torch.no_grad():
        codes = encoder.eval().encode(weights_of(there.values["test"], there.spec)).codes
        plain = encoder.decode(codes, there.spec).weights
        embeddings = [encoder.embed(_batch(there, part)) for part in ("train", "test")]
    chart = encoder.chart(codes, there.spec)
    weights, _ = refined(there, chart, seed, settings)
    more = {"parameters per code number": there.spec.params / settings.small}
    return [
        *judged(there, there.fields(plain), "netspace, trained", "ours", seed, more),
        *judged(there, there.fields(weights), "netspace, trained and refined", "ours", seed, more),
        *retrieved(there, embeddings, "netspace, trained", "ours", seed),
        *walked(there, "netspace, trained", chart, chart.start, seed, settings, folder),
    ]


def implicit_records(there: FieldStage, seed: int, settings: ShapesConfig, folder: Path) -> list[Record]:
    """Rebuild shapes, not networks: the implicit decoder answers for coordinates (inr2vec)."""
    encoder = create_encoder("implicit", there.spec, seed, dim=min(settings.small, 128)).to(there.device)
    assert isinstance(encoder, Implicit)
    assert isinstance(encoder.config, ImplicitConfig)
    loss = "signal" if there.images else "occupancy"
    config = ImplicitFit(steps=settings.lessons, seed=seed, loss=loss)
    fit_implicit(encoder, there.values["train"], there.spec, there.population, there.points, config)
    codes = encoder.encode(weights_of(there.values["test"], there.spec)).codes.detach()
    fields = _implicit_fields(there, encoder, codes)
    more = {"parameters per code number": there.spec.params / encoder.config.dim}
    embeddings = [encoder.embed(_batch(there, part)) for part in ("train", "test")]
    return [
        *judged(there, fields, "implicit", "ours", seed, more),
        *retrieved(there, embeddings, "implicit", "ours", seed),
    ]


@torch.no_grad()
def _implicit_fields(there: FieldStage, encoder: Implicit, codes: Tensor) -> Tensor:
    """Run the implicit decoder where networks are compared."""
    from weightatlas.tasks.shapes import cube

    points = there.points if there.images else cube(there.side).to(codes)
    parts = [encoder.outputs(codes, there.spec, part)[..., 0] for part in points.split(8192)]
    return torch.cat(parts, dim=1).view(there.test_fields.shape)


def refined(
    there: FieldStage, chart: Chart, seed: int, settings: ShapesConfig
) -> tuple[Float[Tensor, "networks params"], Float[Tensor, "networks numbers"]]:
    """Move codes until rebuilt networks answer like their originals; no shape is looked at."""
    targets = there.population.outputs_no_grad(there.values["test"], there.points)
    loss = "logits" if there.images else "distance"
    config = RefineConfig(steps=settings.steps, batch=settings.batch, loss=loss, seed=seed)
    found = refine(chart, there.population, targets, there.points, config)
    return found.weights, found.positions


def walked(
    there: FieldStage,
    method: str,
    chart: Chart,
    ends: Float[Tensor, "networks numbers"],
    seed: int,
    settings: ShapesConfig,
    folder: Path,
) -> list[Record]:
    """Walk between codes, and between the raw weights of the same networks."""
    paths: dict[str, Ends] = {
        method: (ends, chart.decode),
        "raw weights": (there.values["test"], lambda x: x),
    }
    sizes = settings.pairs, settings.positions
    return path_records(there, paths, *sizes, seed, folder if settings.pictures else None)


def _batch(there: FieldStage, part: str) -> Batch:
    values = there.values[part]
    return Batch((Weights(values, there.spec, torch.arange(len(values))),))
