"""Zoos of several data sets and architectures, made when they are first asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.same_zoo import last
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.networks import create_network, networks
from weightatlas.weights.batch import Batch
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import Recipe, load_recipe
from weightatlas.zoo.zoo import Zoo

Place = tuple[str, str]
"""A zoo: name of its architecture and of its data set."""


class ZoosConfig(Config):
    """Which zoos there are: every architecture with every data set.

    Args:
        recipe: What zoos have in common; task and architecture are put into it.
        zoos: Architecture -> a recipe that only the task is put into, or data set -> a recipe taken whole.
            Architectures that are not named here are networks, and `recipe` is theirs.
        tasks: Name of a data set -> name of the task and options that differ.
        data: Names of those `tasks` that are used; empty takes all.
        networks: Architectures.
        count: Networks per zoo; the recipe's number by default.
    """

    recipe: str = "search_8x8"
    zoos: dict[str, str | dict[str, str]] = {}
    tasks: dict[str, dict[str, Any]]
    data: tuple[str, ...] = ()
    networks: tuple[str, ...]
    count: int | None = Field(default=None, ge=20)

    @classmethod
    def build(cls, values: dict[str, Any], *, where: str = "") -> Self:
        """Validate settings, keep the chosen data sets, and try that each network fits its images.

        Raises:
            ConfigError: A key or a value is wrong, a recipe is missing, a network does not fit.
        """
        found = super().build(values, where=where)
        for name in found.data:
            if name not in found.tasks:
                todo = f"Known: {', '.join(found.tasks)}."
                raise ConfigError(f"There is no data set '{name}' here.", todo=todo)
        if found.data:
            found = found.model_copy(update={"tasks": {name: found.tasks[name] for name in found.data}})
        for place in found.places():
            fits(recipe_of(found, place), place)
        return found

    def places(self) -> list[Place]:
        """All zoos."""
        return [(network, task) for network in self.networks for task in self.tasks]

    @property
    def label(self) -> str:
        """Name of the zoos in records: the recipe's, if all networks are put into it."""
        named = self.recipe if not set(self.networks) & set(self.zoos) else "+".join(self.networks)
        return named if self.count is None else f"{named}-{self.count}"


def recipe_of(settings: ZoosConfig, place: Place, tier: str | None = None) -> Recipe:
    """Put together the recipe of one zoo.

    Args:
        settings: Which zoos there are.
        place: Architecture and data set.
        tier: Size; none takes the recipe as it is written.

    Raises:
        ConfigError: The architecture has no zoo of this data set.
    """
    network, name = place
    source = settings.zoos.get(network, settings.recipe)
    if isinstance(source, dict):
        if name not in source:
            raise ConfigError(
                f"There is no recipe for networks '{network}' on '{name}'.",
                todo=f"Choose data= among {', '.join(source)}, or name a recipe: zoos.{network}.{name}=...",
            )
        found = load_recipe(source[name], tier)
    else:
        recipe, about = load_recipe(source, tier), settings.tasks[name]
        if "task" not in about:
            raise ConfigError(f"The data set '{name}' names no task.", todo=f"Give tasks.{name}.task=...")
        put = {"task": about["task"], "task_options": {**recipe.task_options, **about.get("options", {})}}
        if network in settings.zoos:
            found = recipe.replace(name=f"{recipe.name}-{name}", **put)
        else:
            found = recipe.replace(name=f"{recipe.name}-{name}-{network}", network=network, **put)
    if settings.count is None:
        return found
    return found.replace(name=f"{found.name}-{settings.count}", count=settings.count)


def fits(recipe: Recipe, place: Place) -> None:
    """Build a network on images of the recipe's size, where the recipe says it, as populating would.

    Raises:
        ConfigError: The network is unknown, or the images are too small for it.
    """
    side = recipe.task_options.get("image_size")
    networks.get(recipe.network)
    if side is None:
        return
    try:
        for options in recipe.architectures:
            create_network(recipe.network, image_size=side, **recipe.network_options, **options)
    except ConfigError as error:
        raise ConfigError(
            f"The networks '{place[0]}' do not fit the {side}x{side} images of '{place[1]}': {error.what}",
            where=f"In the recipe {recipe.name}.",
            todo="Choose other networks=, or a recipe with larger images.",
        ) from None


@dataclass(frozen=True)
class Crossing:
    """Zoos by architecture and data set, the last checkpoint of every network.

    Args:
        settings: Of the bench: `ZoosConfig` with a `target`.
        tier: Size.
        cache: Folder of zoos and runs.
        zoos: Those that are open.
    """

    settings: Any
    tier: str
    cache: Path
    zoos: dict[Place, Zoo] = field(default_factory=dict)

    def zoo(self, place: Place) -> Zoo:
        """Populate a zoo, or reopen it."""
        if place not in self.zoos:
            recipe = recipe_of(self.settings, place, self.tier)
            whole = populate(recipe, self.cache / "zoos" / f"{recipe.name}-{self.tier}")
            self.zoos[place] = last(Stage(whole, self.tier, self.cache)).zoo
        return self.zoos[place]

    def part(self, place: Place, part: str) -> Batch:
        """Networks of a part with the property and their test accuracy."""
        labels = tuple(dict.fromkeys((self.settings.target, "test_acc")))
        return self.zoo(place).split(part).batch(labels)  # type: ignore[arg-type]

    def classes(self, place: Place) -> int:
        """Classes of the task of a zoo's networks."""
        return next(iter(self.zoo(place).header.tasks.values())).classes

    def truth(self, place: Place, part: str = "test") -> Float[Tensor, " networks"]:
        """The property of the networks of a part."""
        return self.part(place, part).labels[self.settings.target].double()
