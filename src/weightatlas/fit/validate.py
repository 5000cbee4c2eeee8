"""Validation during training: the same terms on networks that are not trained on."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from weightatlas.encoders.base import Autoencoder
from weightatlas.fit.config import FitConfig
from weightatlas.fit.feed import labels_at
from weightatlas.fit.training import Training
from weightatlas.objectives.property import Property
from weightatlas.objectives.step import Step
from weightatlas.objectives.views import ViewConfig, make_views
from weightatlas.processes import ALONE, Processes
from weightatlas.runtime import generator_of
from weightatlas.weights.batch import Batch, Weights

QUERIES = 512


class Validation:
    """Computes every term on fixed views and queries, agreement if networks are executed, and scores of
    predicted properties over all validation networks together.

    Args:
        training: Encoder, loss and population.
        batch: Validation networks, on the device of the training.
        config: Settings of the run.
        queries: Query pool of the run, or none.
        processes: Those that share the work.
    """

    def __init__(
        self,
        training: Training,
        batch: Batch,
        config: FitConfig,
        queries: Any,
        processes: Processes = ALONE,
    ) -> None:
        self.training, self.batch, self.config, self.processes = training, batch, config, processes
        self.inputs: Tensor | None = None
        self.targets: Tensor | None = None
        if training.population is not None and queries is not None:
            generator = generator_of(config.seed, "validation queries")
            inputs = queries.sample(min(QUERIES, len(queries.inputs)), generator)[1]
            self.inputs = inputs
            self.targets = self._kept(batch.groups[0].values, inputs)

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Return means over the validation networks, named `val/...`."""
        self.training.eval()
        passes = self._passes()
        own = [self._measured(pieces) for pieces in passes[self.processes.rank :: self.processes.count]]
        self.training.train()
        found = self.processes.objects(own)
        sums: dict[str, float] = {}
        answers = []
        for number in range(len(passes)):  # in the order of one process
            counted, answer = found[number % self.processes.count][number // self.processes.count]
            for name, value in counted.items():
                sums[name] = sums.get(name, 0.0) + value
            answers += [(part.to(self.batch.groups[0].values.device), labels) for part, labels in answer]
        means = {name: total / len(self.batch) for name, total in sums.items()}
        return {f"val/{name}": value for name, value in {**means, **self._scores(answers)}.items()}

    def _kept(self, values: Tensor, inputs: Tensor) -> Tensor | None:
        """Outputs of the originals, or none if they are larger than a cache may be."""
        population = self.training.population
        assert population is not None
        classes = population.outputs_no_grad(values[:16], inputs[:64]).shape[2:].numel()
        if len(values) * len(inputs) * classes * 4 / 2**20 > self.config.targets_mb:
            return None
        return population.outputs_no_grad(values, inputs)

    def _measured(
        self, pieces: list[tuple[int, Tensor]]
    ) -> tuple[dict[str, float], list[tuple[Tensor, dict[str, Tensor]]]]:
        """Sums of all terms over the networks of a pass, and what was predicted for them."""
        step, terms = self._part(pieces)
        count = sum(len(rows) for _, rows in pieces)
        sums = {name: float(value) * count for name, value in terms.items()}
        if step.predictions is None:
            return sums, []
        labels = {name: label.cpu() for name, label in step.labels.items()}
        return sums, [(step.predictions.chunk(step.views)[0].cpu(), labels)]

    def _passes(self) -> list[list[tuple[int, Tensor]]]:
        """Group numbers and rows of each forward pass; small groups share one if the loss mixes specs."""
        size, found, room = self.config.batch, [], 0
        for number, group in enumerate(self.batch):
            for rows in torch.arange(len(group)).split(size):
                if len(rows) > room or not self.training.loss.mixes:
                    found.append([])
                    room = size
                found[-1].append((number, rows))
                room -= len(rows)
        return found

    def _scores(self, answers: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> dict[str, float]:
        """Score what was predicted for all networks together."""
        found: dict[str, float] = {}
        for objective in self.training.loss.objectives:
            if isinstance(objective, Property) and answers:
                labels = {n: torch.cat([known[n] for _, known in answers]) for n in objective.labels}
                found |= objective.scores(torch.cat([part for part, _ in answers]), labels)
        return found

    def _part(self, pieces: list[tuple[int, Tensor]]) -> tuple[Step, dict[str, Tensor]]:
        loss, (number, rows) = self.training.loss, pieces[0]
        device = self.batch.groups[0].values.device
        groups = [(self.batch.groups[place], some.to(device)) for place, some in pieces]
        parts = [Weights(group.values[some], group.spec, some) for group, some in groups]
        generator = generator_of(self.config.seed, "validation views", number, int(rows[0]))
        # Properties are predicted for networks as they are, also if training permutes them.
        plain = ViewConfig(permute="second" if loss.labels else self.config.views.permute)
        views = [make_views(part, plain, loss.views, generator) for part in parts]
        labels = labels_at(self.batch, loss.labels, pieces)
        executes = self.training.population
        if executes is None or self.inputs is None:
            step = self.training.step(views, labels=labels)
            return step, loss(step)
        if self.targets is None:
            targets = executes.outputs_no_grad(parts[0].values, self.inputs)
        else:
            targets = self.targets[rows.to(self.targets.device)]
        step = self.training.step(views, queries=self.inputs, targets=targets, labels=labels)
        terms = loss(step)
        encoder = self.training.encoder
        if not isinstance(encoder, Autoencoder):
            return step, terms
        outputs = executes.outputs_no_grad(encoder.reconstruct(parts[0]), self.inputs)
        return step, {**terms, "agreement": (outputs.argmax(-1) == targets.argmax(-1)).float().mean()}
