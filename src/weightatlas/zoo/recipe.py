"""Recipes: which networks a zoo is made of, as data."""

import json
import math
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from weightatlas.config import Config, read_yaml
from weightatlas.errors import ConfigError
from weightatlas.networks.cnn_park import ParkDraw
from weightatlas.population.train import TrainConfig
from weightatlas.runtime import key_of, numpy_generator_of
from weightatlas.tasks import Task
from weightatlas.zoo.grid import Grid as Grid
from weightatlas.zoo.grid import Range as Range
from weightatlas.zoo.header import NetworkRecord, Shares

TIERS = ("smoke", "laptop", "paper")


class Run(Config):
    """One network to be trained.

    Args:
        network: How its module is built.
        settings: How it is trained; its key names it everywhere.
        hyper: The combination it comes from.
        replicate: Which repetition of the combination.
        variant: Number of its architecture, if the recipe has several.
    """

    network: NetworkRecord
    settings: TrainConfig
    hyper: dict[str, Any]
    replicate: int
    variant: int | None = None

    @property
    def id(self) -> str:
        """The network's key as 16 hexadecimal digits."""
        return f"{self.settings.key & 0xFFFF_FFFF_FFFF_FFFF:016x}"


class Recipe(Config):
    """What a zoo is made of.

    Example:
        >>> recipe = Recipe(name="tiny", task="digits", network="mlp", epochs=2, grid={"lr": [1e-3, 1e-2]},
        ...                 replicates=3)
        >>> recipe.networks
        6

    Args:
        name: Name of the zoo.
        task: Name of the task, see `create_task`.
        task_options: Its options.
        network: Name of the architecture, see `create_network`.
        network_options: Its options; channels, image size and classes follow from the task.
        variants: Several architectures: further options of each, or ranges to draw them from. A grid trains
            all its combinations with each, a random search takes them in turn.
        epochs: Passes over the training images.
        checkpoints: Epochs after which every network is kept; the last if none are given.
        grid: Values of the hyperparameters.
        replicates: Networks per combination, each with its own key.
        count: Random search: draw this many combinations instead of taking all.
        seed: Seed of the whole zoo, part of every network's key.
        split: Shares of the split by lineage.
        shard: Networks trained and stored together; what a crash can cost.
    """

    name: str
    task: str
    task_options: dict[str, Any] = Field(default_factory=dict)
    network: str
    network_options: dict[str, Any] = Field(default_factory=dict)
    variants: ParkDraw | tuple[dict[str, Any], ...] = ()
    epochs: int = Field(ge=1)
    checkpoints: tuple[int, ...] = ()
    grid: Grid = Grid()
    replicates: int = Field(default=1, ge=1)
    count: int | None = Field(default=None, ge=1)
    seed: int = 0
    split: Shares = Shares()
    shard: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        late = [epoch for epoch in self.checkpoints if not 0 <= epoch <= self.epochs]
        if late:
            raise ValueError(f"checkpoints {late} do not lie in 0..{self.epochs}")
        if self.count is None and self.grid.ranges():
            names = ", ".join(self.grid.ranges())
            raise ValueError(f"{names} given as a range: set count to draw that many networks")
        return self

    @cached_property
    def networks(self) -> int:
        """Number of networks."""
        if self.count is not None:
            return self.count * self.replicates
        sizes = (len(getattr(self.grid, name)) for name in Grid.model_fields)
        return math.prod(sizes) * self.replicates * len(self.architectures)

    @cached_property
    def architectures(self) -> list[dict[str, Any]]:
        """Options of each architecture; one without options if there are no variants."""
        drawn = self.variants.options() if isinstance(self.variants, ParkDraw) else list(self.variants)
        return drawn or [{}]

    @property
    def kept(self) -> tuple[int, ...]:
        """Epochs that are kept."""
        return tuple(sorted(set(self.checkpoints))) or (self.epochs,)

    def runs(self, task: Task) -> list[Run]:
        """Resolve every network: its module, its settings and its key.

        A key is a hash of the seed, the resolved configuration and the replicate, never of a position in
        the grid: extending a grid changes no network that was there before.

        Args:
            task: The task of the recipe.

        Raises:
            ConfigError: A setting is out of its range.
        """
        kinds = range(len(self.architectures))
        if self.count is None:
            chosen = [(kind, hyper) for kind in kinds for hyper in self.grid.combinations()]
        else:
            draws = (self.grid.draw(numpy_generator_of("recipe", self.seed, i)) for i in range(self.count))
            chosen = [(index % len(kinds), hyper) for index, hyper in enumerate(draws)]
        # Twice the same combination (lists in a random search repeat themselves) counts as replicates.
        seen: dict[str, int] = {}
        runs = []
        for kind, hyper in chosen:
            text = json.dumps([self.architectures[kind], hyper], sort_keys=True)
            first = seen.get(text, 0)
            seen[text] = first + self.replicates
            numbers = range(first, first + self.replicates)
            runs += [self._run(kind, hyper, replicate, task) for replicate in numbers]
        return runs

    def _run(self, kind: int, hyper: dict[str, Any], replicate: int, task: Task) -> Run:
        channels, height, _ = task.input_shape
        options: dict[str, Any] = {"channels_in": channels, "image_size": height, "classes": task.classes}
        if hyper["activation"] is not None:
            options["activation"] = hyper["activation"]
        if hyper["dropout"] > 0:
            options["dropout"] = 0.5  # Only puts the layers in place; each network has its own rate.
        options |= self.network_options | self.architectures[kind]
        network = NetworkRecord(name=self.network, options=options)
        resolved = {
            "task": task.sha256,
            "network": network.model_dump(mode="json"),
            "hyper": hyper,
            "epochs": self.epochs,
        }
        key = key_of("network", self.seed, json.dumps(resolved, sort_keys=True), replicate)
        settings = {name: value for name, value in hyper.items() if name != "activation"}
        train = TrainConfig.build({"key": key, **settings}, where=f"In the grid of recipe '{self.name}'.")
        variant = kind if self.variants else None
        return Run(network=network, settings=train, hyper=hyper, replicate=replicate, variant=variant)


def load_recipe(source: str | Path, tier: str | None = None) -> Recipe:
    """Read a recipe from a YAML file, or by the name of one that comes with the package.

    A file may hold a section `tiers` with changes per tier, and the name of another file as `base` to which
    it says the differences; `grid` and options are changed value by value.

    Args:
        source: Path, or a name from `recipe_names()`.
        tier: "smoke", "laptop" or "paper"; none takes the file as it is.

    Raises:
        ConfigError: A key, a value, the name or the tier is unknown.
        FileError: The file cannot be read.
    """
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        if source not in recipe_names():
            raise ConfigError(
                f"There is no recipe called '{source}'.",
                todo=f"Known: {', '.join(recipe_names())}; or give the path of a .yaml file.",
            )
        path = Path(str(_presets() / f"{source}.yaml"))
    values = _with_base(path)
    tiers = values.pop("tiers", {})
    if tier is not None and tier not in tiers:
        raise ConfigError(
            f"The recipe {path.name} has no tier '{tier}'.", todo=f"Tiers: {', '.join(tiers) or 'none'}."
        )
    changes = dict(tiers.get(tier) or {}) if tier else {}
    return Recipe.build(_laid_over(values, changes), where=f"In {path}.")


def _with_base(path: Path) -> dict[str, Any]:
    """Read a file and lay it over the one its key `base` names, beside it or in the package."""
    values = read_yaml(path)
    base = values.pop("base", None)
    if base is None:
        return values
    beside, own = path.parent / f"{base}.yaml", Path(str(_presets() / f"{base}.yaml"))
    return _laid_over(_with_base(own if own.exists() and not beside.exists() else beside), values)


def _laid_over(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Change values; the grid, the tiers and options are changed value by value."""
    merged = {**values, **changes}
    for name in ("grid", "task_options", "network_options", "variants"):
        if isinstance(values.get(name), dict) and isinstance(changes.get(name), dict):
            merged[name] = {**values[name], **changes[name]}
    tiers, other = values.get("tiers"), changes.get("tiers")
    if isinstance(tiers, dict) and isinstance(other, dict):
        names = dict.fromkeys([*tiers, *other])
        merged["tiers"] = {tier: _laid_over(tiers.get(tier) or {}, other.get(tier) or {}) for tier in names}
    return merged


def recipe_names() -> list[str]:
    """List the recipes that come with the package."""
    return sorted(path.name.removesuffix(".yaml") for path in _presets().iterdir() if path.name[0] != "_")


def _presets() -> Any:
    return resources.files("weightatlas") / "presets" / "zoos"
