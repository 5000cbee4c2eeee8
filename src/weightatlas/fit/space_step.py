"""What a step of training a space of networks needs: inputs, order, forward pass, validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.encoders.prep_autoencoder import PrepAutoencoder
from weightatlas.errors import DataError
from weightatlas.fit.feed import Order, Queries
from weightatlas.fit.training import Training
from weightatlas.objectives.distillation import signal_error
from weightatlas.objectives.space import SpaceLoss, SpaceStep, execute
from weightatlas.objectives.views import Views
from weightatlas.population.forward import Population
from weightatlas.runtime import generator_of
from weightatlas.weights.batch import Batch, Weights


@dataclass(frozen=True, slots=True)
class SpaceQueries(Queries):
    """Inputs on which networks are executed, with their classes and a teacher's outputs.

    Args:
        inputs: The whole pool, shape `(pool, ...)`.
        answers: Classes, shape `(pool,)`, or none.
        teacher: Its outputs on the pool, shape `(pool, classes)`, or none.
    """

    answers: Int[Tensor, " pool"] | None = None
    teacher: Float[Tensor, "pool classes"] | None = None

    def __post_init__(self) -> None:
        for name in ("answers", "teacher"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.inputs):
                raise DataError(f"There are {len(self.inputs)} queries, but {len(given)} {name}.")


def moved_queries(queries: SpaceQueries, device: torch.device) -> SpaceQueries:
    """Copy queries to a device, without anything a gradient could flow into."""
    parts = (queries.answers, queries.teacher)
    kept = (None if part is None else part.detach().to(device) for part in parts)
    return SpaceQueries(queries.inputs.to(device), *kept)


class SpaceTraining(Training):
    """One forward pass: encode all architectures, then the loss decodes and executes.

    Args:
        encoder: The autoencoder in training.
        loss: Its loss.
        populations: One per place of the ladder.
    """

    def __init__(self, encoder: PrepAutoencoder, loss: SpaceLoss, populations: Sequence[Population]) -> None:
        super().__init__(encoder, loss, None)  # type: ignore[arg-type]
        self.populations = tuple(populations)

    def forward(self, views: Sequence[Views], **given: Any) -> dict[str, Tensor]:
        """Compute "loss" and its terms."""
        encoder: Any = self.encoder
        codes = torch.cat([encoder.encode(view.inputs).codes for view in views])
        rungs = torch.cat([torch.full((len(v.inputs),), encoder.rung(v.inputs.spec)) for v in views])
        return self.loss(SpaceStep(encoder, self.populations, codes, rungs.to(codes.device), **given))


class PairOrder(Order):
    """The order of `fit`, with networks of the first and the last group added to every step.

    Args:
        batch: Training networks.
        size: Networks per step, at most, before any are added.
        seed: Seed of the order.
        forced: Networks added from the first and from the last group.
    """

    def __init__(self, batch: Batch, size: int, seed: int, forced: int) -> None:
        super().__init__(batch, size, seed, mixed=True)
        self.forced = forced if len(self.sizes) > 1 else 0

    def __call__(self, step: int) -> list[tuple[int, Tensor]]:
        pieces = dict(super().__call__(step))
        if self.forced:
            generator = generator_of(self.seed, "pairs", step)
            for group in (0, len(self.sizes) - 1):
                drawn = torch.randperm(self.sizes[group], generator=generator)[: self.forced]
                pieces[group] = torch.cat([pieces.get(group, drawn[:0]), drawn]).unique()
        return sorted(pieces.items())


class SpaceValidation:
    """Accuracies of validation networks and of what they are rebuilt as.

    Args:
        training: Encoder and populations.
        batch: Validation networks.
        queries: Labelled inputs to measure on.
        device: Where to compute.
    """

    def __init__(self, training: Training, batch: Batch, queries: SpaceQueries, device: torch.device) -> None:
        self.training: Any = training
        self.batch, self.queries = batch, moved_queries(queries, device)
        self.device = device
        self.known: list[Tensor] = []

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Return "val/gap" and "val/accuracy" (or "val/error" of signals) and, on a ladder, "val/class"."""
        training, found = self.training, []
        encoder, populations, answers = training.encoder, training.populations, self.queries.answers
        training.eval()
        for place, group in enumerate(self.batch):
            rung, weights = (
                encoder.rung(group.spec),
                Weights(group.values.to(self.device), group.spec, group.rows),
            )
            if len(self.known) <= place:
                self.known.append(populations[rung].outputs_no_grad(weights.values, self.queries.inputs))
            codes = encoder.encode(weights).codes
            rungs = torch.full((len(codes),), rung, device=codes.device)
            outputs = execute(encoder, populations, codes, rungs, self.queries.inputs)
            named = (encoder.classes(codes) == rung).float()
            if answers is None:
                found.append(torch.stack([signal_error(outputs, self.known[place]), named], 1))
                continue
            accuracy, known = ((o.argmax(2) == answers).float().mean(1) for o in (outputs, self.known[place]))
            found.append(torch.stack([(accuracy - known).abs(), named, accuracy], 1))
        training.train()
        gap, named, *accuracy = torch.cat(found).mean(0).tolist()
        numbers = {"val/gap": gap, "val/accuracy": accuracy[0]} if accuracy else {"val/error": gap}
        return {**numbers, "val/class": named} if len(encoder.ladder) > 1 else numbers
