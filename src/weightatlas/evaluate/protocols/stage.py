"""What several benches share: a populated zoo, its exam, its query pool, and what is trivially reached."""

from collections.abc import Callable, Hashable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightatlas.evaluate.diversity import Surroundings, surroundings
from weightatlas.evaluate.exam import Exam, exam_of
from weightatlas.evaluate.reference import Reference, reference_of
from weightatlas.population.forward import Population
from weightatlas.population.targets import cache_targets
from weightatlas.runtime import pick_device
from weightatlas.tasks import QueryPool, Task
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec
from weightatlas.zoo.lineage import PARTS
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import Recipe, load_recipe
from weightatlas.zoo.zoo import By, Zoo

T = TypeVar("T")

LABELS = ("train_acc", "val_acc", "test_acc", "generalization_gap", "step")


class Stage:
    """A zoo split by lineage, and everything needed to judge what is done with its networks.

    Numbers are computed when they are first asked for, and kept.

    Example:
        >>> there = stage("digits", "smoke", Path("runs/cache"))       # doctest: +SKIP
        >>> compare(there.exam, there.test_values, rebuilt, there.reference)  # doctest: +SKIP

    Args:
        zoo: The whole zoo, networks of one spec.
        tier: "smoke", "laptop" or "paper".
        cache: Folder of zoos and trained encoders.
        device: Where weights and images live: "auto", "cpu" or "cuda".
        name: Name of the zoo in records; the zoo's own by default.
        by: How the zoo is split; "network", as papers do, lets relatives stand on both sides.
    """

    def __init__(
        self,
        zoo: Zoo,
        tier: str,
        cache: Path,
        device: str = "auto",
        name: str = "",
        by: By = "lineage",
    ) -> None:
        self.zoo, self.tier, self.cache = zoo, tier, cache
        self.by: By = by
        self.name = name or zoo.name
        self.device = pick_device(device)
        self._parts: dict[str, Zoo] = {}
        self._batches: dict[str, Batch] = {}
        self._targets: dict[str, Tensor] = {}
        self._kept: dict[Hashable, Any] = {}

    @property
    def spec(self) -> NetworkSpec:
        """Layout of the networks."""
        return self.zoo.spec

    @cached_property
    def task(self) -> Task:
        """What the networks were trained on."""
        return self.zoo.task()

    @cached_property
    def network(self) -> nn.Module:
        """Code of the networks; its own weights mean nothing."""
        return self.zoo.network()

    @cached_property
    def population(self) -> Population:
        """Runs the networks."""
        return self.zoo.population()

    @cached_property
    def exam(self) -> Exam:
        """The test images: networks are judged on them and nothing else is done with them."""
        return self.exam_on("test")

    def exam_on(self, split: str) -> Exam:
        """Make an exam of the images of a split: "val" for choices, never "test"."""
        inputs, labels = self.task.split(split)  # type: ignore[arg-type]
        return exam_of(self.population, inputs.to(self.device), labels)

    @cached_property
    def pool(self) -> QueryPool:
        """All training images, unlabelled: for behavioral losses and refinement."""
        return QueryPool(self.task, "train", device=self.device)

    def part(self, name: str) -> Zoo:
        """View "train", "val" or "test" networks, split by lineage."""
        if name not in self._parts:
            self._parts[name] = self.zoo.split(name, self.by)  # type: ignore[arg-type]
        return self._parts[name]

    def batch(self, name: str) -> Batch:
        """Read the networks of a part, with their properties as labels."""
        if name not in self._batches:
            known = self.part(name)
            found = known.batch([label for label in LABELS if label in known.table.names])
            self._batches[name] = Batch(tuple(_moved(g, self.device) for g in found.groups), found.labels)
        return self._batches[name]

    def replace_batch(self, name: str, batch: Batch) -> None:
        """Put other weights in the place of a part's networks, such as the same in another neuron order."""
        self._batches[name] = batch

    def weights(self, name: str) -> Weights:
        """Return the networks of a part as rows."""
        return self.batch(name).groups[0]

    @property
    def train(self) -> Batch:
        """Training networks and their properties."""
        return self.batch("train")

    @property
    def val(self) -> Batch:
        """Validation networks and their properties."""
        return self.batch("val")

    @property
    def test(self) -> Batch:
        """Test networks and their properties."""
        return self.batch("test")

    @property
    def train_values(self) -> Float[Tensor, "networks params"]:
        """Weights of the training networks."""
        return self.weights("train").values

    @property
    def val_values(self) -> Float[Tensor, "networks params"]:
        """Weights of the validation networks."""
        return self.weights("val").values

    @property
    def test_values(self) -> Float[Tensor, "networks params"]:
        """Weights of the test networks."""
        return self.weights("test").values

    def lineage(self, name: str) -> Int[Tensor, " networks"]:
        """Number the lineages of a part, for distances that leave out relatives."""
        numbers: dict[str, int] = {}
        names = self.part(name).column("lineage").tolist()
        return torch.tensor([numbers.setdefault(each, len(numbers)) for each in names])

    @cached_property
    def best(self) -> int:
        """Position of the best training network by validation accuracy."""
        return int(self.train.labels["val_acc"].nan_to_num(-torch.inf).argmax())

    @cached_property
    def reference(self) -> Reference:
        """What trivially predicts each test network: nearest, mean and best training network."""
        scores = self.train.labels["val_acc"]
        return reference_of(self.exam, self.train_values, scores, self.test_values, self.spec)

    @cached_property
    def surroundings(self) -> Surroundings:
        """The training networks aligned to the best of them, for distances of new networks."""
        lineage = self.lineage("train").to(self.device)
        return surroundings(self.train_values, self.spec, self.train_values[self.best], lineage)

    @cached_property
    def test_outputs(self) -> Float[Tensor, "networks queries classes"]:
        """Outputs of the test networks on the test images."""
        return self.exam.outputs(self.test_values)

    def targets(self, name: str) -> Float[Tensor, "networks pool classes"]:
        """Outputs of the networks of a part on the whole query pool."""
        if name not in self._targets:
            values = self.weights(name).values
            self._targets[name] = cache_targets(self.population, values, self.pool.inputs).outputs
        return self._targets[name]

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Make something that several units of a bench share, and keep it under a key."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def divided(self, by: By) -> "Stage":
        """Return the same zoo under another split, made once."""
        if by == self.by:
            return self
        return self.once(
            ("divided", by), lambda: Stage(self.zoo, self.tier, self.cache, str(self.device), self.name, by)
        )

    def about(self, bench: str, seed: int = 0) -> dict[str, Any]:
        """Fields that all records of one bench and seed share."""
        return {
            "bench": bench,
            "tier": self.tier,
            "zoo": self.name,
            "seeds": (seed,),
            "split": self.zoo.split_by or self.by,
        }

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.part(name))} {name}" for name in PARTS)
        return f"Stage('{self.name}', {self.tier}, {counts} networks)"


def stage(recipe: str | Path | Recipe, tier: str, cache: Path, device: str = "auto") -> Stage:
    """Populate the zoo of a recipe, or reopen it, and set everything up around it.

    Args:
        recipe: Name of a recipe of the package, path of a YAML file, or a recipe.
        tier: Size of the recipe ("smoke", "laptop", "paper").
        cache: Folder that holds zoos; the zoo is populated once and reused by every bench.
        device: "auto", "cpu" or "cuda".

    Raises:
        DataError: The data of the task are missing.
        ConfigError: The recipe or the tier is unknown.
    """
    chosen = resolve(recipe, tier)
    zoo = populate(chosen, cache / "zoos" / f"{chosen.name}-{tier}", device=device)
    return Stage(zoo, tier, cache, device)


def _moved(group: Weights, device: torch.device) -> Weights:
    return Weights(group.values.to(device), group.spec, group.rows)


def resolve(recipe: str | Path | Recipe, tier: str) -> Recipe:
    """Read a recipe in the size of a tier; one that was built by hand is taken as it is."""
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe, tier)


def cache_of(out: str | Path) -> Path:
    """Folder beside a results file that holds its zoos and trained encoders.

    Example:
        >>> cache_of("results/losses.json").as_posix()
        'results/cache'
    """
    return Path(out).parent / "cache"
