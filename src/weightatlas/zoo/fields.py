"""Zoos of networks that represent one shape or image each, fitted as one population."""

from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config, read_yaml
from weightatlas.errors import ConfigError
from weightatlas.networks import create_network
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.population.signals import fit_signals
from weightatlas.progress import Tracker, track
from weightatlas.runtime import key_of, numpy_generator_of, pick_device
from weightatlas.symmetry.verify import spec_of
from weightatlas.tasks.fields import Fields, PointConfig, image_fields
from weightatlas.tasks.primitives import draw_primitives
from weightatlas.tasks.task import create_task
from weightatlas.tasks.voxels import furniture_shapes
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import signature_of
from weightatlas.zoo.header import (
    Header,
    NetworkRecord,
    Shares,
    check_folder,
    has_header,
    write_header,
)
from weightatlas.zoo.index import load_index, rebuild_index
from weightatlas.zoo.lineage import digest, split_of
from weightatlas.zoo.populate import provenance
from weightatlas.zoo.signals import check_same, name_of
from weightatlas.zoo.store import write_shard
from weightatlas.zoo.table import Table
from weightatlas.zoo.zoo import Zoo

_FREE = {"shard", "name"}  # settings that change no network


class FieldRecipe(Config):
    """A zoo of SIRENs that represent shapes (3 coordinates) or images (2).

    Every step takes the same points for all networks, so that what two networks differ in is what their
    signals differ in.

    Example:
        >>> FieldRecipe(name="few", source="primitives", count=20).hidden
        (64, 64)

    Args:
        name: Name of the zoo.
        source: "chairs", "furniture" (chairs and monitors) and the images "mnist" and "fashion_mnist" need
            $WEIGHTATLAS_DATA; "primitives" and the images "digits" do not.
        count: Signals, the first so many; none takes all.
        hidden: Widths of the sine layers.
        omega: Frequency of every sine layer.
        start: First weights: "independent" for every network, as in NetSpace; one random "shared" start, as
            in inr2vec; or a shared start that was fitted to all training signals at once ("mean").
        start_steps: Steps of that fit.
        steps: Steps of Adam per network.
        batch: Points per step; images always take all pixels.
        lr: First learning rate.
        focus: Distance from the surface within which errors count most; none for images.
        pool: Points that steps choose from, gathered near the surfaces of all training shapes.
        points: How points of a shape are drawn.
        seed: Seed of the zoo.
        split: Shares of the split by signal.
        shard: Networks fitted side by side and stored together.
    """

    name: str
    source: Literal["chairs", "furniture", "primitives", "digits", "mnist", "fashion_mnist"]
    count: int | None = Field(default=None, ge=1)
    hidden: tuple[int, ...] = (64, 64)
    omega: float = 30.0
    start: Literal["independent", "shared", "mean"] = "mean"
    start_steps: int = Field(default=400, ge=1)
    steps: int = Field(default=300, ge=1)
    batch: int = Field(default=256, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    focus: float | None = Field(default=0.05, gt=0)
    pool: int = Field(default=16384, ge=1)
    points: PointConfig = PointConfig()
    seed: int = 0
    split: Shares = Shares()
    shard: int = Field(default=100, ge=1)


def field_recipe(name: str, tier: str | None = None, **changes: Any) -> FieldRecipe:
    """Read a recipe of the package.

    Example:
        >>> field_recipe("chairs", "paper").hidden
        (256, 256)

    Args:
        name: One of `field_recipes()`.
        tier: Section of the file that goes before the rest.
        changes: Settings that go before both.

    Raises:
        ConfigError: The recipe, the tier or a setting is unknown.
    """
    if name not in field_recipes():
        todo = f"Known: {', '.join(field_recipes())}."
        raise ConfigError(f"There is no recipe of fields called '{name}'.", todo=todo)
    with resources.as_file(_folder() / f"{name}.yaml") as path:
        values = read_yaml(path)
    tiers = values.pop("tiers")
    if tier is not None and tier not in tiers:
        raise ConfigError(f"The recipe '{name}' has no tier '{tier}'.", todo=f"Tiers: {', '.join(tiers)}.")
    chosen = tiers[tier] or {} if tier else {}
    return FieldRecipe.build({**values, **chosen, **changes}, where=f"In the recipe '{name}'.")


def field_recipes() -> list[str]:
    """List the recipes of fields in the package."""
    return sorted(f.name.removesuffix(".yaml") for f in _folder().iterdir() if f.name.endswith(".yaml"))


def _folder() -> Any:
    return resources.files("weightatlas") / "presets" / "fields"


def signals_of(recipe: FieldRecipe) -> Fields:
    """Make the signals of a recipe, in the order of its networks' `signal` column.

    Raises:
        DataError: The data are missing.
    """
    if recipe.source == "primitives":
        return draw_primitives(recipe.count or 500, recipe.seed)
    if recipe.source in ("digits", "mnist", "fashion_mnist"):
        found: Fields = image_fields(create_task(recipe.source))
    else:
        found = furniture_shapes(("chair", "monitor") if recipe.source == "furniture" else ("chair",))
    order = numpy_generator_of("fields", recipe.source, recipe.seed).permutation(len(found))
    return found.take(order[: recipe.count or len(found)])


def populate_fields(recipe: FieldRecipe, out: str | Path, device: str = "auto") -> Zoo:
    """Fit all networks of a recipe that the zoo does not hold yet.

    Rows have the columns `signal` (its place in `signals_of(recipe)`), `label` (its class) and
    `train_loss`. A lineage is a signal: with shared starts all networks are relatives, and what must not
    stand on both sides of the split are shapes.

    Args:
        recipe: What to fit.
        out: Folder of the zoo; created if it is not there.
        device: Where to fit: "auto", "cpu" or "cuda".

    Raises:
        DataError: The data are missing.
        ZooError: The folder holds something else, or a zoo of another recipe.
    """
    folder, signals = Path(out), signals_of(recipe)
    check_folder(folder)
    options = {"coordinates": signals.coordinates, "hidden": list(recipe.hidden), "omega": recipe.omega}
    network = create_network("siren", **options)
    spec = spec_of(network, (signals.coordinates,))
    signature = signature_of(network.state_dict(), spec)
    mark, function = digest(signature.model_dump_json()), spec.function_id or spec.layout_id
    if has_header(folder):
        check_same(folder, recipe, _FREE)
    header = Header(
        name=recipe.name,
        split=recipe.split,
        recipe=recipe.model_dump(mode="json"),
        specs={function: spec},
        signatures={mark: signature},
        networks={function: NetworkRecord(name="siren", options=options)},
        provenance=provenance("fields"),
    )
    write_header(folder, header)
    table = load_index(folder)
    rows = _rows(spec, signals, recipe, mark)
    present = set(table.column("id").tolist()) if len(table) else set()
    missing = np.array([row for row, name in enumerate(rows["id"]) if name not in present], np.int64)
    if len(missing):
        # For networks this small vmap was measured 1.4 times faster than the batched engine, and a choice by
        # the clock would not give the same bits twice.
        _Fit(recipe, signals, rows, Population(network, spec, "vmap"), device).go(folder, missing)
        rebuild_index(folder)
    zoo = Zoo.open(folder)
    return zoo.filter(np.isin(zoo.column("id"), rows["id"]))


class _Fit:
    """The fit of the networks a zoo lacks."""

    def __init__(
        self,
        recipe: FieldRecipe,
        signals: Fields,
        rows: dict[str, list[Any]],
        population: Population,
        device: str,
    ) -> None:
        self.recipe, self.signals, self.rows = recipe, signals, rows
        self.population, self.device = population, pick_device(device)
        keys = torch.tensor([key_of("points", recipe.seed, mark) for mark in signals.digests])
        train = np.flatnonzero(np.array(rows["split"]) == "train")
        self.train = train if len(train) else np.arange(len(signals))
        self.points = self._pool(keys)
        self.settings = {"lr": recipe.lr, "focus": recipe.focus, "seed": recipe.seed}

    def go(self, folder: Path, missing: Int[np.ndarray, " some"]) -> None:
        """Fit and store networks, shard by shard."""
        recipe, shared = self.recipe, self._start()
        with track(len(missing) * recipe.steps, f"fitting {len(missing)} signals") as bar:
            for part in np.split(missing, range(recipe.shard, len(missing), recipe.shard)):
                start = self._own(part) if shared is None else shared.expand(len(part), -1)
                advance = partial(_advance, bar, len(part))
                given = self.population, start, self.points, self._values(part), recipe.steps
                values, errors = fit_signals(
                    *given, on_step=advance, batch=self._batch(recipe.batch), **self.settings
                )
                self._store(folder, part, values.cpu(), errors.cpu())

    def _pool(self, keys: Int[Tensor, " signals"]) -> Float[Tensor, "points coordinates"]:
        """Gather the points of all training signals, or as many of them as the recipe asks for."""
        recipe, pool = self.recipe, []
        for part in np.array_split(self.train, -(-len(self.train) // recipe.shard)):
            pool.append(self.signals.take(part).points(keys[part], recipe.points).flatten(0, 1))
        points = torch.cat(pool)
        if self.signals.coordinates == 2:
            return points.unique(dim=0).to(self.device)
        chosen = numpy_generator_of("pool", recipe.seed).permutation(len(points))[: recipe.pool]
        return points[chosen].to(self.device)

    def _values(self, rows: Int[np.ndarray, " some"]) -> Float[Tensor, "signals points 1"]:
        """Read signals at all points."""
        points = self.points.cpu().expand(len(rows), -1, -1)
        return self.signals.take(rows).measure(points)[..., None].to(self.device)

    def _batch(self, size: int) -> int | None:
        return None if self.signals.coordinates == 2 else size

    def _own(self, rows: Int[np.ndarray, " some"]) -> Float[Tensor, "networks params"]:
        keys = torch.tensor([self.rows["seed"][row] for row in rows.tolist()])
        return initialize(self.population.spec, keys, "siren").to(self.device)

    def _start(self) -> Float[Tensor, "1 params"] | None:
        """Draw the shared start, or fit it to the mean of all training signals; none if there is none."""
        recipe = self.recipe
        if recipe.start == "independent":
            return None
        key = torch.tensor([key_of("start", recipe.seed)])
        start = initialize(self.population.spec, key, "siren").to(self.device)
        if recipe.start == "shared":
            return start
        parts = np.array_split(self.train, -(-len(self.train) // recipe.shard))
        mean = torch.stack([self._values(part).sum(0) for part in parts]).sum(0) / len(self.train)
        given = self.population, start, self.points, mean[None], recipe.start_steps
        return fit_signals(*given, batch=self._batch(1024), **self.settings)[0]

    def _store(
        self, folder: Path, part: Int[np.ndarray, " some"], values: Tensor, errors: Float[Tensor, " networks"]
    ) -> None:
        rows = {name: [column[row] for row in part.tolist()] for name, column in self.rows.items()}
        rows |= {"finite": torch.isfinite(values).all(1).numpy(), "train_loss": errors.double().numpy()}
        write_shard(folder, digest("shard", *rows["id"]), values, Table.of(rows))


def _advance(bar: Tracker, networks: int, _step: int) -> None:
    """Count a step of some networks."""
    bar.advance(networks)


def _rows(spec: NetworkSpec, signals: Fields, recipe: FieldRecipe, signature: str) -> dict[str, list[Any]]:
    """Write the columns every zoo has, and those of signals."""
    identity = recipe.replace(shard=1, name="").model_dump_json()
    keys = [key_of("field", identity, mark) for mark in signals.digests]
    names, lineages = [name_of(key) for key in keys], [digest("signal", mark) for mark in signals.digests]
    fixed = {"layout_id": spec.layout_id, "function_id": spec.function_id, "step": recipe.steps}
    fixed |= {"lineage_source": "signal", "parent": None, "split_official": None, "task": None}
    fixed |= {"source": recipe.source, "signature": signature}
    return {
        "id": [f"{name}-{recipe.steps:04d}" for name in names],
        "network": names,
        **{name: [value] * len(keys) for name, value in fixed.items()},
        "seed": keys,
        "init_seed": keys if recipe.start == "independent" else [recipe.seed] * len(keys),
        "lineage": lineages,
        "split": split_of(lineages, recipe.split),
        "signal": list(range(len(keys))),
        "label": signals.labels.tolist(),
    }
