"""Where encoders put networks of several zoos: t-SNE in three dimensions, seen from three sides."""

import csv
import io
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.atomic import write_text
from weightatlas.errors import DataError, SpecError
from weightatlas.evaluate.protocols.cross import CrossConfig, fitted
from weightatlas.evaluate.protocols.cross_zoos import Crossing, Place
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, listed, run_on, settings_of
from weightatlas.evaluate.protocols.stage import cache_of
from weightatlas.predict.features import features_of
from weightatlas.predict.finetune import Finetuned
from weightatlas.results import Kind, Record

BENCH = "embedding_map"
log = logging.getLogger("weightatlas")
STATISTICS = "layer statistics"
COLUMNS = ("zoo told by neighbors", "variance between zoos")
VIEWS = ("x", "y", "z")


class MapConfig(CrossConfig):
    """Settings of `bench embedding_map`; zoos and training as in `bench cross_dataset`.

    Args:
        points: Test networks of each zoo.
        neighbors: Nearest networks that tell the zoo of one.
        perplexity: Of t-SNE.
    """

    points: int = Field(default=60, ge=4)
    neighbors: int = Field(default=10, ge=1)
    perplexity: float = Field(default=30.0, gt=1)

    def chosen(self) -> tuple[str, ...]:
        """Names of the methods, in order."""
        return self.methods or (STATISTICS, *self.variants)


cards[BENCH] = Card(
    "embeddings of networks of several zoos by t-SNE, three views per encoder, and how well the zoo shows",
    "search_8x8 (smoke, laptop), small_cnn_* (paper)",
    {"smoke": 0.5, "laptop": None, "paper": None},
    COLUMNS,
    settings=MapConfig,
    lists=("methods", "networks", "data"),
)


@benches.register(BENCH)
def embedding_map(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Embed test networks of all zoos by encoders trained on the first (Andreis et al., 2024, Figure 2).

    The paper reads from its pictures that SNE mixes the zoos and others keep them apart. "zoo told by
    neighbors": share of networks whose zoo is that of most of their nearest neighbors among the embeddings,
    which is one over the number of zoos if they are mixed. "variance between zoos": share of the
    embeddings' variance that lies between the zoos' means. Embeddings are standardized. Points of the
    pictures, of the first seed, are written beside the results file.

    Args:
        tier: "smoke", "laptop" (8x8 images) or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and runs; beside `out` by default, shared with `cross_dataset`.
        changes: Settings that differ from `presets/benches/embedding_map.yaml`.

    Raises:
        ConfigError: A method or a setting is unknown.
    """
    settings = settings_of(BENCH, tier, MapConfig, listed(changes, "methods", "networks", "data"))
    there = Crossing(settings, tier, cache or cache_of(out))
    table = points_beside(out)
    units = []
    for name in settings.chosen():
        for seed in seeds[:1] if name == STATISTICS else seeds:
            path = table if seed == seeds[0] else None
            units.append(Unit(name, seed, partial(measured, method=name, seed=seed, path=path)))
    return run_on(BENCH, tier, out, settings.label, units, lambda: there)


def points_beside(out: str | Path) -> Path:
    """Table of the points of the pictures, beside a results file."""
    return Path(out).with_name(f"{Path(out).stem}-points.csv")


def measured(there: Crossing, method: str, seed: int, path: Path | None) -> list[Record]:
    """Embed the networks of all zoos with one method, measure and map; nothing if it refuses them."""
    settings: Any = there.settings
    places = [(settings.networks[0], task) for task in settings.tasks]
    for place in places:
        there.zoo(place)  # what is wrong with the data is no refusal of the method
    try:
        parts = embeddings(there, method, places, seed)
    except (SpecError, DataError) as error:
        log.warning("%s is left out: %s", method, error)
        return []
    zoo = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    points = standardized(torch.cat(parts)).numpy()
    numbers = dict(zip(COLUMNS, (told(points, zoo, settings.neighbors), between(points, zoo)), strict=True))
    if path is not None:
        names = np.array([task for _, task in places])[zoo]
        keep_points(path, method, names, tsne(points, settings.perplexity, seed))
    kind: Kind = "baseline" if method == STATISTICS else "ours"
    about = {"bench": BENCH, "tier": there.tier, "zoo": settings.label, "method": method, "kind": kind}
    fields = {"n": len(points), "seeds": (seed,)}
    return [Record.build({**about, **fields, "metric": name, "value": v}) for name, v in numbers.items()]


def embeddings(
    there: Crossing, method: str, places: Sequence[Place], seed: int
) -> list[Float[Tensor, "networks dim"]]:
    """Embed some test networks of every zoo; encoders are trained on the first zoo."""
    settings: Any = there.settings
    source: Any = "layer_statistics"
    if method != STATISTICS:
        predictor, _ = fitted(there, method, places[0], seed)
        assert isinstance(predictor.fitted_, Finetuned)
        source = predictor.fitted_.encoder
    found = []
    for place in places:
        batch = there.zoo(place).split("test")[: settings.points].batch()
        found.append(features_of(source, batch).detach().double().cpu())
    return found


def standardized(points: Float[Tensor, "networks dim"]) -> Float[Tensor, "networks dim"]:
    """Center numbers and give them unit spread; those that do not vary are left out."""
    spread = points.std(0, correction=0)
    vary = spread > 1e-9 * points.abs().amax(0).clamp_min(1e-30)
    return (points[:, vary] - points[:, vary].mean(0)) / spread[vary]


def told(points: Float[np.ndarray, "networks dim"], zoo: np.ndarray, neighbors: int) -> float:
    """Share of networks whose zoo is that of most of their nearest neighbors."""
    from sklearn.neighbors import KNeighborsClassifier

    far = np.square(points[:, None] - points[None]).sum(2)
    np.fill_diagonal(far, 1e300)  # nobody is their own neighbor
    found = KNeighborsClassifier(min(neighbors, len(points) - 1), metric="precomputed").fit(far, zoo)
    return float((found.predict(far) == zoo).mean())


def between(points: Float[np.ndarray, "networks dim"], zoo: np.ndarray) -> float:
    """Share of the variance that lies between the means of the zoos."""
    centered = points - points.mean(0)
    means = np.stack([centered[zoo == number].mean(0) for number in range(zoo.max() + 1)])
    return float(np.square(means[zoo]).sum() / np.square(centered).sum())


def tsne(
    points: Float[np.ndarray, "networks dim"], perplexity: float, seed: int
) -> Float[np.ndarray, "networks 3"]:
    """Embed in three dimensions, started at principal components."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    width = min(50, *points.shape)
    reduced = PCA(width, random_state=seed).fit_transform(points)
    most = min(perplexity, (len(points) - 1) / 3)
    start = np.zeros((len(points), len(VIEWS)))
    start[:, :width] = reduced[:, : len(VIEWS)]
    start *= 1e-4 / max(start[:, 0].std(), 1e-12)
    return TSNE(len(VIEWS), perplexity=most, init=start, random_state=seed).fit_transform(reduced)


def keep_points(path: Path, method: str, zoos: np.ndarray, points: Float[np.ndarray, "networks 3"]) -> None:
    """Write the points of one method into the table, in place of older ones."""
    rows: list[dict[Any, Any]] = []
    if path.exists():
        rows = [r for r in csv.DictReader(io.StringIO(path.read_text("utf-8"))) if r["method"] != method]
    for zoo, point in zip(zoos.tolist(), points.tolist(), strict=True):
        rows.append(
            {"method": method, "zoo": zoo, **{v: f"{x:.2f}" for v, x in zip(VIEWS, point, strict=True)}}
        )
    text = io.StringIO()
    writer = csv.DictWriter(text, ("method", "zoo", *VIEWS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
