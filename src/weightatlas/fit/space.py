"""Train a space of networks of one or several architectures, on the one training loop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from weightatlas.encoders.prep_autoencoder import PrepAutoencoder
from weightatlas.errors import ConfigError, gather
from weightatlas.fit.config import FitConfig
from weightatlas.fit.feed import as_batch
from weightatlas.fit.result import FitResult
from weightatlas.fit.run import Run
from weightatlas.fit.space_step import (
    PairOrder,
    SpaceQueries,
    SpaceTraining,
    SpaceValidation,
    moved_queries,
)
from weightatlas.fit.training import digest_of
from weightatlas.objectives.interpolation import Between, nearest_by_score
from weightatlas.objectives.space import SpaceConfig, SpaceLoss
from weightatlas.objectives.views import make_views
from weightatlas.objectives.weight_error import read_by
from weightatlas.population.forward import Population
from weightatlas.population.targets import Targets, cache_targets
from weightatlas.processes import launched
from weightatlas.runtime import generator_of, key_of
from weightatlas.weights.batch import Batch, Weights


class SpaceFit(FitConfig):
    """Settings of training a space: those of `fit`, and what is special.

    Args:
        space: Terms of the loss.
        forced: Networks of the smallest and of the largest architecture that are added to every step, so
            that there is always something to interpolate between. The released code leaves it to chance:
            with two networks a step, one step in six has such a pair.
    """

    space: SpaceConfig = SpaceConfig()
    forced: int = Field(default=0, ge=0)


def fit_space(
    encoder: PrepAutoencoder,
    data: Any,
    config: SpaceFit,
    out: str | Path | None = None,
    *,
    queries: SpaceQueries,
    populations: Sequence[Population],
    validation: tuple[Any, SpaceQueries] | None = None,
) -> FitResult:
    """Train an autoencoder of PReps as NetSpace does. Interrupted runs continue, as those of `fit` do.

    Args:
        encoder: Its ladder may hold architectures no training network has.
        data: Training networks, a group per architecture; batch norms folded.
        config: Length, rates, terms.
        out: Folder of the run, or none.
        queries: Training inputs, their classes and a teacher's outputs.
        populations: One per place of the encoder's ladder.
        validation: Networks, and inputs with classes to measure them on: "val/gap" is the mean absolute
            difference of accuracies, "val/accuracy" that of the rebuilt networks.

    Raises:
        ConfigError: Every problem of the call, at once.
        RunError: The folder holds another run, or the training diverged.
    """
    batch = as_batch(data)
    _check(encoder, batch, config, queries, populations, validation)
    with torch.random.fork_rng():
        return _SpaceRun(encoder, batch, config, out, queries, populations, validation).go()


def _check(
    encoder: PrepAutoencoder,
    batch: Batch,
    config: SpaceFit,
    queries: SpaceQueries,
    populations: Sequence[Population],
    validation: Any,
) -> None:
    """Find every contradiction before the first step."""
    space, problems = config.space, []
    if launched() > 1:
        problems.append(f"a space is trained in one process, and {launched()} were started")
    if not len(batch):
        problems.append("there are no training networks")
    if len(populations) != len(encoder.ladder):
        problems.append(f"the ladder has {len(encoder.ladder)} architectures, {len(populations)} can be run")
    for rung, (known, population) in enumerate(zip(encoder.ladder, populations, strict=False)):
        if known.layout_id != population.spec.layout_id:
            problems.append(f"population {rung} runs another layout than place {rung} of the ladder")
    for group in batch:
        encoder.require(group.spec)
        if not torch.isfinite(group.values).all():
            problems.append(f"training networks of {group.spec.params:,} parameters hold NaN")
    if space.against == "teacher" and queries.teacher is None:
        problems.append("against='teacher' needs the teacher's outputs in queries=")
    if space.against == "teacher" and space.alpha < 1 and queries.answers is None:
        problems.append("alpha < 1 needs the classes of the queries")
    if space.between and (queries.answers is None or len(encoder.ladder) > 1):
        problems.append("between= needs one architecture and the classes of the queries")
    if space.performance and queries.answers is None:
        problems.append("performance= needs the classes of the queries")
    if config.select is not None and (validation is None or not config.validate_every):
        problems.append(f"select='{config.select}' needs validation= and validate_every > 0")
    gather(ConfigError, problems, where="Nothing was trained.")


class _SpaceRun(Run):
    """One call of `fit_space`."""

    config: SpaceFit

    def __init__(
        self,
        encoder: PrepAutoencoder,
        batch: Batch,
        config: SpaceFit,
        out: str | Path | None,
        queries: SpaceQueries,
        populations: Sequence[Population],
        validation: tuple[Any, SpaceQueries] | None,
    ) -> None:
        loss: Any = SpaceLoss(config.space)
        super().__init__(encoder, batch, config, None if out is None else Path(out), None, None, None, loss)
        self.training = SpaceTraining(encoder, loss, populations)
        self.order = PairOrder(batch, config.batch, config.seed, config.forced)
        self.pool = moved_queries(queries, self.device)
        given = (queries.inputs, queries.answers, queries.teacher)
        self.identity["queries"] = " ".join(digest_of(part) for part in given if part is not None)
        self.held = validation
        self.originals: list[Targets] = []
        self.weights: list[Tensor] = []
        self.scores: list[Tensor] = []

    def _feed(self) -> None:
        """Run the originals on the whole pool, or bring their weights in order, once."""
        encoder, populations = self.training.encoder, self.training.populations  # type: ignore[attr-defined]
        if self.config.space.compare == "weights":
            self.weights = [read_by(encoder, group) for group in self.batch]  # type: ignore[arg-type]
        elif self.config.space.against == "original":
            for group in self.batch:
                population = populations[encoder.rung(group.spec)]  # type: ignore[operator]
                self.originals.append(cache_targets(population, group.values, self.pool.inputs))
        if self.config.space.between:
            outputs, answers = self.originals[0].outputs, self.pool.answers
            self.scores = [(outputs.argmax(2) == answers).float().mean(1)]
        self.validate: Any = None
        if self.held is not None and self.config.validate_every:
            self.validate = SpaceValidation(self.training, as_batch(self.held[0]), self.held[1], self.device)

    def _inputs(self) -> dict[str, Any]:
        """Gather what the step works on; a function of seed and step."""
        seed, step, pool = self.config.seed, self.step, self.pool
        pieces = [(number, rows.to(self.device)) for number, rows in self.order(step)]
        groups = [(self.batch.groups[number], rows) for number, rows in pieces]
        parts = [Weights(group.values[rows], group.spec, rows) for group, rows in groups]
        source = generator_of(seed, "views", step)
        views = [make_views(part, self.config.views, 1, source) for part in parts]
        torch.manual_seed(key_of(seed, "dropout", step) & 0x7FFF_FFFF_FFFF_FFFF)
        index, inputs = pool.sample(self.config.queries, generator_of(seed, "queries", step))
        answers = None if pool.answers is None else pool.answers[index]
        given = {"views": views, "queries": inputs, "answers": answers}
        if pool.teacher is not None and self.config.space.against == "teacher":
            count = sum(len(rows) for _, rows in pieces)
            return {**given, "targets": pool.teacher[index].expand(count, -1, -1)}
        if self.weights:
            return {**given, "targets": torch.cat([self.weights[number][rows] for number, rows in pieces])}
        targets = torch.cat([self.originals[number].take(rows, index) for number, rows in pieces])
        return {**given, "targets": targets, "between": self._between(pieces[0][1], index)}

    def _between(self, rows: Tensor, index: Tensor) -> Between | None:
        """Choose codes between networks, and the training networks they must answer like."""
        if not self.scores:
            return None
        generator = generator_of(self.config.seed, "between", self.step)
        partner = torch.randperm(len(rows), generator=generator).to(rows.device)
        gamma = torch.rand(len(rows), generator=generator).to(rows.device)
        scores = self.scores[0]
        wanted = torch.lerp(scores[rows], scores[rows[partner]], gamma)
        return Between(partner, gamma, self.originals[0].take(nearest_by_score(wanted, scores), index))
