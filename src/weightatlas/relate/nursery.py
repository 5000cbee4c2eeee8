"""Networks whose relations are known: strangers, siblings, descendants, students; for `bench lineage`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightatlas.atomic import write_bytes
from weightatlas.networks import create_network
from weightatlas.population.train import Checkpoint, TrainConfig, train
from weightatlas.relate import family
from weightatlas.runtime import key_of
from weightatlas.symmetry.verify import spec_of
from weightatlas.tasks import Task, create_task
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import flatten, to_state_dict

ARCHITECTURES: dict[str, dict[str, object]] = {
    "digits_cnn": {},
    "mlp": {"hidden": (40, 24)},
    "resnet_small": {"channels_in": 1, "image_size": 8, "widths": (6, 12)},
    "lenet_digits": {},
}
RECIPES = [
    {"init": init, "lr": lr, "weight_decay": decay}
    for init in ("kaiming_uniform", "orthogonal")
    for lr in (1e-3, 3e-3)
    for decay in (0.0, 1e-4)
]

Rows = Float[Tensor, "networks params"]


@dataclass(frozen=True)
class Nursery:
    """Networks of one architecture on scikit-learn's digits; what was trained is kept in a folder.

    Args:
        name: Name of the architecture.
        folder: Where trained networks are kept.
        epochs: Length of a training.
        part: "evaluated" or "calibration": other seeds, so that no network is in both.
        seed: Seed of everything.
    """

    name: str
    folder: Path
    epochs: int
    part: str
    seed: int = 0

    @cached_property
    def network(self) -> nn.Module:
        """The module."""
        return create_network(self.name, **ARCHITECTURES[self.name])

    @cached_property
    def spec(self) -> NetworkSpec:
        """Its layout."""
        return spec_of(self.network, (1, 8, 8))

    @cached_property
    def task(self) -> Task:
        """What all networks are trained on."""
        return create_task("digits")

    def strangers(self, count: int) -> Rows:
        """Train networks from independent first weights, eight recipes in turn."""
        runs = [self._run("stranger", i) for i in range(count)]
        return self._kept(f"strangers-{count}", lambda: self._trained(runs))

    def siblings(self, count: int) -> Rows:
        """Train the first strangers' first weights again, on the images in another order."""
        runs = [
            self._run("stranger", i).replace(
                key=self._key("sibling", i), init_seed=self._run("stranger", i).key
            )
            for i in range(count)
        ]
        return self._kept(f"siblings-{count}", lambda: self._trained(runs))

    def tuned(self, values: Rows, label: str, epochs: int = 3, relabel: bool = False) -> Rows:
        """Train networks further, with three learning rates in turn.

        Args:
            values: Networks as rows.
            label: Name under which they are kept.
            epochs: How long.
            relabel: Give the classes other numbers, for a new head.
        """
        inputs, labels = self.task.split("train")
        if relabel:
            labels = family.relabeled(labels, 10, self.seed)
        rates = (5e-4, 1e-3, 3e-3)
        runs = [TrainConfig(key=self._key(label, i), lr=rates[i % 3]) for i in range(len(values))]
        data = (inputs, labels)
        return self._kept(
            f"{label}-{len(values)}",
            lambda: family.tuned(values, self.spec, self.network, data, runs, epochs),
        )

    def retrained(self, values: Rows, label: str, own: bool, epochs: int = 2) -> Rows:
        """Train networks further, each on one of 16 versions of the images, or all on the same.

        Versions are mirrored, turned or inverted. Nothing is kept.

        Args:
            values: Networks as rows.
            label: Part of the keys of the trainings.
            own: Whether every network has a version of its own.
            epochs: How long.
        """
        inputs, labels = self.task.split("train")
        keys = [self._key(label, i) for i in range(len(values))]
        version = torch.tensor([key_of("version", key) % 16 if own else 0 for key in keys])
        result = torch.empty_like(values)
        for number in version.unique().tolist():
            rows = (version == number).nonzero().flatten()
            runs = [TrainConfig(key=keys[i], lr=(5e-4, 1e-3, 3e-3)[i % 3]) for i in rows.tolist()]
            data = family.version_of(inputs, number), labels
            result[rows] = family.tuned(values[rows], self.spec, self.network, data, runs, epochs)
        return result

    def students(self, values: Rows) -> Rows:
        """Teach a fresh network the soft outputs of each network."""
        return self._kept(f"students-{len(values)}", lambda: self._taught(values))

    def _taught(self, values: Rows) -> Rows:
        inputs, _ = self.task.split("train")
        teacher, fresh = (create_network(self.name, **ARCHITECTURES[self.name]) for _ in range(2))
        starts = next(
            iter(self._steps([self._run("student", i) for i in range(len(values))], epochs=0))
        ).weights
        states = []
        for i, (own, start) in enumerate(zip(values, starts, strict=True)):
            teacher.load_state_dict(to_state_dict(own, self.spec), strict=False)
            fresh.load_state_dict(to_state_dict(start, self.spec), strict=False)
            states.append(
                family.student(teacher, fresh, inputs, self.epochs, self._key("order", i)).state_dict()
            )
            states[-1] = {name: tensor.clone() for name, tensor in states[-1].items()}
        return flatten(states, self.spec)

    def _run(self, kind: str, index: int) -> TrainConfig:
        return TrainConfig.build({"key": self._key(kind, index), **RECIPES[index % len(RECIPES)]})

    def _key(self, *parts: object) -> int:
        return key_of("nursery", self.name, self.part, self.seed, *parts)

    def _trained(self, runs: list[TrainConfig]) -> Rows:
        return next(iter(self._steps(runs, self.epochs))).weights

    def _steps(self, runs: list[TrainConfig], epochs: int) -> Iterator[Checkpoint]:
        data = {"train": self.task.split("train")}
        return train(self.network, self.spec, data, runs, epochs, engine="batched")

    def _kept(self, label: str, make: Callable[[], Rows]) -> Rows:
        """Read networks, or make and keep them."""
        from safetensors.torch import load_file, save

        path = self.folder / f"{self.name}-{self.part}-{self.epochs}-{self.seed}-{label}.safetensors"
        if not path.exists():
            write_bytes(path, save({"weights": make().contiguous()}))
        return load_file(path)["weights"]
