"""What the NetSpace benches share: networks, each with a stop epoch of its own, and images to run them on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import ZooError
from weightatlas.evaluate.exam import Exam, exam_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.fit.space_step import SpaceQueries
from weightatlas.population.forward import Population
from weightatlas.runtime import key_of
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.fold import fold_network
from weightatlas.weights.prep import folded
from weightatlas.weights.spec import NetworkSpec
from weightatlas.zoo.zoo import Zoo

PARTS = ("train", "val", "test")
SHARES = (100, 16, 16)  # published counts, also taken as shares of smaller populations


@dataclass(frozen=True, slots=True)
class Field:
    """Networks of one architecture, batch norms folded, in three parts of independent networks.

    Args:
        spec: Their layout.
        population: Runs them.
        parts: Part -> weights `(networks, params)`. Beside "train", "val" and "test" there are "early" and
            "late": the test networks at the first and at the last epoch that was kept.
        scores: Part -> validation accuracies `(networks,)`.
    """

    spec: NetworkSpec
    population: Population
    parts: dict[str, Float[Tensor, "_ params"]]
    scores: dict[str, Float[Tensor, " _"]]

    def weights(self, part: str) -> Weights:
        """Return a part as weights."""
        values = self.parts[part]
        return Weights(values, self.spec, torch.arange(len(values)))

    def exam(self, stage: Stage) -> Exam:
        """Return the test images, for this architecture."""
        inputs, labels = stage.task.split("test")
        return exam_of(self.population, inputs.to(stage.device), labels)


def field_of(
    zoo: Zoo,
    spread: bool = False,
    engine: str = "batched",
    held: int | None = None,
    device: torch.device | None = None,
) -> Field:
    """Take every network of a zoo once: as it ended, or each at a stop epoch of its own.

    Parts are drawn by a hash of the network; in each, stop epochs are spread over all that were kept.
    The networks have independent first weights, so this is also a split by lineage.

    Args:
        zoo: Networks of one architecture.
        spread: Stop each network at another epoch.
        engine: Engine that executes networks.
        held: Networks in the validation and in the test part; by default the published share.
        device: Where the weights go; by default they stay where the zoo has them.

    Raises:
        ZooError: There are too few networks for three parts.
    """
    steps, names = zoo.column("step"), zoo.column("lineage")
    kept = sorted(set(steps.tolist()))
    order = sorted(set(names.tolist()), key=lambda name: key_of("netspace split", name))
    values, spec = folded(zoo.weights().values, zoo.spec)
    where = {(name, step): row for row, (name, step) in enumerate(zip(names, steps, strict=True))}
    chosen = {}
    for part, members in _shares(order, held).items():
        stops = [kept[i * len(kept) // len(members)] if spread else kept[-1] for i in range(len(members))]
        chosen[part] = torch.tensor([where[pair] for pair in zip(members, stops, strict=True)])
        if part == "test":
            for end, stop in (("early", kept[0]), ("late", kept[-1])):
                chosen[end] = torch.tensor([where[name, stop] for name in members])
    scores = torch.from_numpy(zoo.column("val_acc").astype("float32"))
    code = fold_network(zoo.network(), zoo.spec)
    return Field(
        spec,
        Population(code, spec, engine=engine),
        {part: values[rows].to(device) for part, rows in chosen.items()},
        {part: scores[rows] for part, rows in chosen.items()},
    )


def _shares(order: list[str], held: int | None) -> dict[str, list[str]]:
    """Cut networks 100 : 16 : 16, or so that `held` are in each of the last two parts."""
    count, total = len(order), sum(SHARES)
    held = held or max(count * SHARES[1] // total, 2)
    if count < 3 * held:
        raise ZooError(f"{count} networks are too few for training, validation and test parts.")
    first = count - 2 * held
    return dict(zip(PARTS, (order[:first], order[first : first + held], order[first + held :]), strict=True))


def batch_of_fields(fields: list[Field], part: str, counts: tuple[int, ...] | None = None) -> Batch:
    """Join a part of several architectures; "val_acc" is its label.

    Args:
        fields: Architectures, smallest first.
        part: "train", "val" or "test".
        counts: Networks of each, at most; an architecture with 0 is left out.
    """
    groups, scores, start = [], [], 0
    for place, field in enumerate(fields):
        most = len(field.parts[part]) if counts is None else counts[place]
        values = field.parts[part][:most]
        if len(values):
            groups.append(Weights(values, field.spec, torch.arange(start, start + len(values))))
            scores.append(field.scores[part][:most])
            start += len(values)
    return Batch(tuple(groups), {"val_acc": torch.cat(scores)})


def queries_of(
    there: Stage, teacher: Callable[[Tensor], Tensor] | None = None
) -> tuple[SpaceQueries, SpaceQueries]:
    """Training and validation images with their classes, the former with a teacher's outputs if any."""
    found = []
    for part in ("train", "val"):
        inputs, labels = (data.to(there.device) for data in there.task.split(part))
        outputs = teacher(inputs) if teacher is not None and part == "train" else None
        found.append(SpaceQueries(inputs, labels, outputs))
    return found[0], found[1]
