"""What "Structure Is Not Enough" varies in training, and everything measured on one training."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.atomic import write_text
from weightatlas.encoders.base import Autoencoder, Encoder
from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.generation import anchors_of, codes_of
from weightatlas.evaluate.protocols.losses import PROPERTIES, Training, rebuild, training_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.evaluate.reconstruction import Reconstruction, compare
from weightatlas.fit.loop import fit
from weightatlas.latent.sample import generate
from weightatlas.predict.features import labels_of
from weightatlas.predict.ridge import fit_ridge
from weightatlas.runtime import generator_of, key_of
from weightatlas.tasks import QueryPool

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class StructureConfig(Training):
    """Settings of the benches of "Structure Is Not Enough".

    Args:
        related: Task whose training images are the related queries; none leaves that trial out.
        count: Networks to generate.
        anchors: Share of the training networks that serve as anchors, best by validation accuracy.
        trials: Only these trials; all of the table if none are given.
        by_network: Seeds for which the rows CS and CSB are also measured on the paper's split by network.
    """

    related: str | None = None
    count: int = Field(default=64, ge=2)
    anchors: float = Field(default=0.3, gt=0, le=1)
    trials: tuple[str, ...] = ()
    by_network: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Trial:
    """One way to train.

    Args:
        row: Row of the paper's tables, see `objectives.composite.recipe`.
        loss: Settings of the loss that differ.
        queries: "train", "related" or "uniform".
        share: Share of the passes.
    """

    row: str
    loss: dict[str, Any] = field(default_factory=dict)
    queries: str = "train"
    share: float = 1.0


TRIALS: dict[str, Trial] = {
    **{row: Trial(row) for row in ("CS", "B", "CB", "SB", "CSB")},
    **{f"CSB, beta {beta:g}": Trial("CSB", {"beta": beta}) for beta in (0.2, 0.3, 0.4, 0.5)},
    "CSB, logits": Trial("CSB", {"variant": "logits_mse"}),
    "CSB, cross-entropy": Trial("CSB", {"variant": "cross_entropy"}),
    "CSB, distillation": Trial("CSB", {"variant": "distillation", "temperature": 2.0}),
    "CSB, related queries": Trial("CSB", queries="related"),
    "CSB, uniform noise": Trial("CSB", queries="uniform"),
    "CSB, half the passes": Trial("CSB", share=0.5),
}


def measured(there: Stage, name: str, seed: int, settings: StructureConfig) -> dict[str, float]:
    """Train one trial and measure all that any table or figure shows of it.

    Trainings and numbers are kept in the stage's cache, so that what two tables share is done once.
    """
    encoder, config = training_of(there, TRIALS[name].row, seed, settings)
    trial = TRIALS[name]
    passes = max(round(trial.share * settings.passes), 1)
    config = config.replace(passes=passes, loss=config.loss.model_copy(update=trial.loss))
    facts = (
        config.identity,
        settings.preset,
        encoder.config,
        trial.queries,
        settings.count,
        settings.anchors,
    )
    mark = f"{key_of(*facts, settings.related, there.by) & 0xFFFF_FFFF:08x}"
    folder = there.cache / "runs" / f"structure-{there.name}-{there.tier}-{mark}"
    kept = folder / "measured.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    probes = Probes(there, folder)
    population = there.zoo.population(engine=settings.engine)
    queries = queries_of(there, trial.queries, settings.related)
    done = fit(encoder, there.train, config, folder, queries=queries, population=population, on_pass=probes)
    numbers = {**probes.numbers(), **history_numbers(done.history), "training seconds": done.seconds}
    numbers |= rebuilt_numbers(there, encoder) | generated_numbers(there, encoder, seed, settings)
    # A diverged network has no KL, one without errors no agreement on them; means of these are left out.
    numbers = {name: value for name, value in numbers.items() if math.isfinite(value)}
    write_text(kept, json.dumps(numbers, indent=1, allow_nan=False))
    return numbers


def queries_of(there: Stage, source: str, related: str | None) -> QueryPool:
    """Return the images on which networks are executed in training, as many as the zoo's training images.

    Raises:
        ConfigError: Related images are asked for, but none are named.
    """
    if source == "related" and related is None:
        raise ConfigError("No task is named for related queries.", todo="Set related to the name of a task.")
    if source == "train":
        return there.pool
    name = related if source == "related" and related is not None else source
    return QueryPool(there.task, name, size=len(there.pool), device=there.device)


class Probes:
    """Probes an encoder after every pass: R2 of properties of the test networks (Figures 5 and 7).

    Args:
        there: Zoo.
        folder: Of the run; probes are kept in it, so that a continued run has those of its first part.
    """

    def __init__(self, there: Stage, folder: Path) -> None:
        self.there, self.path = there, folder / "probes.json"

    def __call__(self, encoder: Encoder, number: int) -> None:
        """Probe after pass `number`."""
        training = encoder.training
        encoder.eval()
        scores = probe(self.there, encoder)
        encoder.train(training)
        found = self.numbers()
        found |= {f"{name} after pass {number}": value for name, value in scores.items()}
        write_text(self.path, json.dumps(found))

    def numbers(self) -> dict[str, float]:
        """All probes so far."""
        return json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}


@torch.no_grad()
def probe(there: Stage, encoder: Encoder) -> dict[str, float]:
    """Predict properties of test networks by ridge regression, regularized as suits validation networks."""
    names = tuple(PROPERTIES)
    sets = {
        part: (encoder.embed(batch).cpu(), labels_of(batch, names).cpu())
        for part, batch in (("train", there.train), ("val", there.val), ("test", there.test))
    }
    fitted = fit_ridge(*sets["train"], sets["val"])
    features, true = sets["test"]
    errors = (fitted.predict(features) - true).square().sum(0)
    scores = 1 - errors / (true - true.mean(0)).square().sum(0)
    return {f"R2 {PROPERTIES[name]}": float(s) for name, s in zip(names, scores, strict=True)}


def history_numbers(history: list[dict[str, Any]]) -> dict[str, float]:
    """Return the loss after each pass, and the share of steps that had to be left out (Figure 6)."""
    found = {f"loss after pass {line['pass']}": float(line["loss"]) for line in history}
    skipped = [float(line.get("skipped", 0.0)) for line in history]
    return {**found, "steps left out": sum(skipped) / max(len(skipped), 1)}


def rebuilt_numbers(there: Stage, encoder: Autoencoder) -> dict[str, float]:
    """Measure rebuilt networks: means, and quantiles over networks (Figures 2, 3, 8 and 9, Table 8)."""
    found = probe(there, encoder)
    values, unmasked = rebuild(encoder, there.weights("test"))
    result = compare(there.exam, there.test_values, values, there.reference, there.test_outputs)
    found |= {name: value for name, (value, _) in result.numbers().items()}
    found |= {"L2 unmasked": float(unmasked.double().mean()), **quantile_numbers(result)}
    found["best accuracy, rebuilt"] = float(result.accuracy.max())
    held, _ = rebuild(encoder, there.weights("val"))
    exam = there.exam_on("val")
    same = exam.classes(held) == exam.classes(there.val_values)
    return found | {"validation agreement": float(same.double().mean())}


def quantile_numbers(result: Reconstruction) -> dict[str, float]:
    """Return quantiles over networks of agreement, distance and accuracy."""
    sets = {"agreement": result.agreement, "L2": result.l2, "accuracy, rebuilt": result.accuracy}
    return {k: v for name, values in sets.items() for k, v in quantiles(name, values).items()}


def quantiles(name: str, values: Float[Tensor, " networks"]) -> dict[str, float]:
    """Name the quantiles of a distribution.

    Example:
        >>> quantiles("L2", torch.tensor([1.0, 3.0]))["L2 at 50 %"]
        2.0
    """
    points = torch.quantile(values.double().cpu(), torch.tensor(QUANTILES, dtype=torch.float64))
    return {f"{name} at {100 * q:g} %": float(p) for q, p in zip(QUANTILES, points, strict=True)}


def generated_numbers(
    there: Stage, encoder: Autoencoder, seed: int, settings: StructureConfig
) -> dict[str, float]:
    """Draw networks as the paper does, a density for each of 32 components, and score them (Figure 3)."""
    codes = codes_of(encoder, anchors_of(there, settings.anchors), there)
    made = generate(encoder, codes, there.spec, settings.count, generator_of("structure", seed))
    accuracy = there.exam.accuracy(there.exam.classes(made))
    return {
        "best accuracy, generated": float(accuracy.max()),
        "mean accuracy, generated": float(accuracy.double().mean()),
        **quantiles("accuracy, generated", accuracy),
    }
