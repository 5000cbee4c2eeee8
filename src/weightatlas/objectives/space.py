"""NetSpace's loss: networks of several architectures, executed as populations, and the codes between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.prep_autoencoder import PrepAutoencoder
from weightatlas.objectives.architecture import class_losses
from weightatlas.objectives.distillation import knowledge, signal_error
from weightatlas.objectives.interpolation import Between, boundary_pairs, ladder_codes
from weightatlas.objectives.performance import accuracy_gap
from weightatlas.objectives.weight_error import weight_errors
from weightatlas.population.forward import Population


class SpaceConfig(Config):
    """What a space of networks is trained for.

    Args:
        against: Whose outputs rebuilt networks imitate: each its "original", or all one "teacher".
        compare: "distillation" of class scores, the mean squared error of a "signal" that networks
            represent (Eq. 2), or that of their "weights", whatever they do.
        alpha: With a teacher, share of imitation; the rest is cross-entropy with the labels.
        temperature: Divides logits before the softmax.
        relative: Divide each network's divergence by that of an even answer, so that networks with small
            logits, stopped early, count as much as others.
        performance: Weight of a term of our own that needs labels: rebuilt networks must be right as often
            as their originals.
        classes: Weight of predicting the architecture.
        ladder: Weight of the interpolation loss between the smallest and the largest architecture.
        pairs: Pairs a step interpolates between, at most; none takes all of the batch.
        between: With one architecture, weight of a term of our own: codes between two networks must answer
            like the training network whose accuracy lies at the same place between theirs.
        execute: "true" runs decoded networks as the architecture they are meant to be; "argmax" as the
            predicted one, as the released code does (it distils into wrong architectures at first).
        total: "mean" over networks, or their "sum" as in the released code for several architectures.
    """

    against: Literal["original", "teacher"] = "original"
    compare: Literal["distillation", "signal", "weights"] = "distillation"
    alpha: float = Field(default=0.9, ge=0, le=1)
    temperature: float = Field(default=4.0, gt=0)
    relative: bool = False
    performance: float = Field(default=0.0, ge=0)
    classes: float = Field(default=1.0, ge=0)
    ladder: float = Field(default=1.0, ge=0)
    pairs: int | None = Field(default=None, ge=1)
    between: float = Field(default=0.0, ge=0)
    execute: Literal["true", "argmax"] = "true"
    total: Literal["mean", "sum"] = "mean"

    @model_validator(mode="after")
    def _consistent(self) -> "SpaceConfig":
        if (self.between or self.performance) and self.against == "teacher":
            raise ValueError("between= and performance= compare with the originals: against='original'")
        further = self.against == "teacher" or self.between or self.performance
        if self.compare == "signal" and further:
            raise ValueError("signals have no classes: compare='signal' goes with against='original' alone")
        if self.compare == "weights" and (further or self.execute == "argmax"):
            raise ValueError(
                "weights are compared with the original's, and no network is executed: compare='weights' "
                "goes with against='original' and execute='true', without between= and performance="
            )
        return self


@dataclass(frozen=True, slots=True)
class SpaceStep:
    """What one step of training a space works on.

    Args:
        encoder: The autoencoder in training.
        populations: One per place of the ladder; each runs networks of its architecture.
        codes: Codes of the networks of the step.
        rungs: Their places on the ladder.
        queries: Inputs on which networks are executed.
        answers: Classes of the queries, or none.
        targets: What decoded networks imitate: outputs, shape `(networks, queries, classes)`, or weights,
            shape `(networks, most)`, from `weight_error.read_by`.
        between: Codes between networks of one architecture, or none.
        shared: All networks see the same queries; otherwise `queries` has a leading axis of networks.
    """

    encoder: PrepAutoencoder
    populations: Sequence[Population]
    codes: Float[Tensor, "networks codes width"]
    rungs: Int[Tensor, " networks"]
    queries: Tensor
    answers: Int[Tensor, " queries"] | None
    targets: Float[Tensor, "networks *imitated"]
    between: Between | None = None
    shared: bool = True


class SpaceLoss(nn.Module):
    """Distillation, architecture and interpolation losses of NetSpace (Berardi et al., 2022).

    All codes of a step, interpolated ones too, are decoded and executed once per architecture.

    Args:
        config: Terms and their weights.
    """

    views: ClassVar[int] = 1
    needs_queries: ClassVar[bool] = True
    needs_decoded: ClassVar[bool] = True
    mixes: ClassVar[bool] = True
    labels: ClassVar[tuple[str, ...]] = ()
    head: ClassVar[nn.Module | None] = None

    def __init__(self, config: SpaceConfig) -> None:
        super().__init__()
        self.config = config
        self.settings: dict[str, Any] = config.model_dump(mode="json")

    def forward(self, step: SpaceStep) -> dict[str, Float[Tensor, ""]]:
        """Compute "loss" and, for the log, its terms."""
        config, classes, count = self.config, len(step.encoder.ladder), len(step.codes)
        every, places, goals = self._asked(step)
        scores = step.encoder.classify(every) if classes > 1 else None
        run = places if scores is None or config.execute == "true" else scores.argmax(1)
        losses, found = self._imitation(step, every, run, goals)
        if scores is not None:
            wrong = class_losses(scores, places)
            found["class"] = self._total(wrong[:count])
            found["class accuracy"] = (scores[:count].argmax(1) == step.rungs).float().mean()
            losses = losses + config.classes * wrong
        loss = self._total(losses[:count])
        if len(every) > count:
            found["interpolation"] = self._total(losses[count:])
            loss = loss + (config.between or config.ladder) * found["interpolation"]
        return {"loss": loss, **found}

    def _imitation(
        self, step: SpaceStep, codes: Tensor, run: Tensor, goals: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """How far every network is from what it imitates, and the terms of the step's own networks."""
        config, count = self.config, len(step.codes)
        if config.compare == "weights":
            losses = weight_errors(step.encoder, codes, run, goals)
            return losses, {"weights": self._total(losses[:count])}
        outputs = execute(step.encoder, step.populations, codes, run, step.queries, step.shared)
        losses = self._differences(outputs, goals, step.answers)
        found = {"distillation": self._total(losses[:count])}
        if config.performance and step.answers is not None:
            wrong = accuracy_gap(outputs, goals, step.answers)
            found["performance"] = self._total(wrong[:count])
            losses = losses + config.performance * wrong
        return losses, found

    def _differences(self, outputs: Tensor, goals: Tensor, answers: Tensor | None) -> Tensor:
        """How far every network is from what it must answer."""
        config = self.config
        if config.compare == "signal":
            return signal_error(outputs, goals)
        alpha = config.alpha if config.against == "teacher" else 1.0
        return knowledge(outputs, goals, answers, alpha, config.temperature, config.relative)

    def _asked(self, step: SpaceStep) -> tuple[Tensor, Tensor, Tensor]:
        """Codes of the step and between them, what each is decoded as, and what it must answer."""
        config, classes = self.config, len(step.encoder.ladder)
        codes, rungs, targets = [step.codes], [step.rungs], [step.targets]
        if classes > 2 and config.ladder and config.against == "teacher":
            pairs = boundary_pairs(step.rungs, classes, config.pairs)
            extra, places = ladder_codes(step.codes, pairs, classes)
            codes, rungs = [*codes, extra], [*rungs, places]
            targets.append(step.targets[:1].expand(len(extra), -1, -1))
        if step.between is not None:
            ends = step.codes, step.codes[step.between.partner]
            codes.append(torch.lerp(*ends, step.between.gamma[:, None, None]))
            rungs, targets = [*rungs, step.rungs], [*targets, step.between.targets]
        return torch.cat(codes), torch.cat(rungs), torch.cat(targets)

    def _total(self, losses: Float[Tensor, " networks"]) -> Float[Tensor, ""]:
        return losses.mean() if self.config.total == "mean" else losses.sum()


def execute(
    encoder: PrepAutoencoder,
    populations: Sequence[Population],
    codes: Float[Tensor, "networks codes width"],
    rungs: Int[Tensor, " networks"],
    queries: Tensor,
    shared: bool = True,
) -> Float[Tensor, "networks queries classes"]:
    """Decode codes, each as its place of the ladder, and run them: one population per architecture.

    Args:
        encoder: The autoencoder.
        populations: One per place of the ladder.
        codes: Codes of any architectures.
        rungs: The architecture each is decoded as.
        queries: Inputs all networks see, or each its own.
        shared: Which of the two.
    """
    outputs, order = [], []
    for rung in rungs.unique().tolist():
        rows = (rungs == rung).nonzero().flatten()
        weights = encoder.decode(codes[rows], encoder.ladder[rung]).weights
        outputs.append(populations[rung](weights, queries if shared else queries[rows], shared))
        order.append(rows)
    return torch.cat(outputs)[torch.cat(order).argsort()]
