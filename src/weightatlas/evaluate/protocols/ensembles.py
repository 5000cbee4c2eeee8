"""Ensembles of generated networks beside ensembles of the best zoo networks."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.evaluate.diversity import disagreement
from weightatlas.evaluate.exam import Exam, decide
from weightatlas.evaluate.protocols.downstream import best_of_lineages, imitators
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.latent.imitate import wider_pool
from weightatlas.latent.refine import RefineConfig
from weightatlas.results import Kind, Record
from weightatlas.runtime import generator_of

ZOO = "best zoo networks"
CHOSEN = "generated, way chosen on validation"


class EnsemblesConfig(Config):
    """Settings of `bench ensembles`.

    Args:
        recipe: Zoo.
        until: Last epoch of the checkpoints that may be seen.
        anchors: Share of the training lineages that serve as anchors, best by validation accuracy.
        draws: Networks made per method, of which an ensemble's members are chosen.
        size: Members of an ensemble.
        steps: Steps of imitation on unlabelled training images.
        wider: Size of the wider pool of images, in multiples of the training images.
    """

    recipe: str = "digits"
    until: int
    anchors: float = Field(default=0.3, gt=0, le=1)
    draws: int = Field(ge=2)
    size: int = Field(default=10, ge=2)
    steps: int = Field(ge=1)
    wider: int = Field(default=4, ge=1)


# Way -> (noise, parents, whether images beyond the training images are answered).
WAYS: dict[str, tuple[float, int, bool]] = {
    "imitation": (0.4, 5, False),
    "imitation of single parents, noise 0.6": (0.6, 1, False),
    "imitation on a wider pool": (0.4, 5, True),
}

cards["ensembles"] = Card(
    "ensembles of ten generated networks beside ensembles of the ten best zoo networks",
    "digits",
    {"smoke": 0.2, "laptop": None, "paper": None},
    ("ensemble accuracy", "validation ensemble accuracy", "member accuracy", "disagreement"),
    settings=EnsemblesConfig,
)


@benches.register("ensembles")
def ensembles(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Average the logits of ten networks: generated in several ways, imitating from scratch, or of the zoo.

    Members are the best by validation accuracy, or chosen one after the other so that the ensemble's
    loss on validation images falls most. The last row is the way and choice with the lowest
    validation loss; nothing is chosen on test images.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of draws and of the order of data.
        cache: Folder of zoos; beside `out` by default.
        changes: Settings that differ from `presets/benches/ensembles.yaml`.
    """
    settings = settings_of("ensembles", tier, EnsemblesConfig, changes)
    units = [Unit(CHOSEN, seed, partial(records_of, seed=seed, settings=settings)) for seed in seeds]
    return run_units("ensembles", tier, out, settings.recipe, units, (), cache)


def records_of(there: Stage, seed: int, settings: EnsemblesConfig) -> list[Record]:
    """Make the networks of every way, choose members on validation images, judge on test images."""
    anchors = best_of_lineages(there, settings.until, settings.anchors, settings.draws)
    exams, found = {"val": there.exam_on("val"), "test": there.exam}, []
    best: tuple[float, dict[str, float]] | None = None
    for method, kind, networks in ways(there, anchors, seed, settings):
        outputs = {split: exam.outputs(networks) for split, exam in exams.items()}
        for choice, rows in choices(outputs["val"], exams["val"].labels, settings.size).items():
            numbers = numbers_of(outputs, rows, exams)
            about = {"method": f"{method}, {choice}", "kind": kind, "n": len(rows)}
            found += _records({**about, **there.about("ensembles", seed)}, numbers)
            if kind == "ours" and (best is None or numbers["validation loss"] < best[0]):
                best = (numbers["validation loss"], numbers)
    about = {"method": CHOSEN, "kind": "ours", "n": settings.size, **there.about("ensembles", seed)}
    return found + _records(about, {} if best is None else best[1])


def ways(
    there: Stage, anchors: Float[Tensor, "anchors params"], seed: int, settings: EnsemblesConfig
) -> list[tuple[str, Kind, Float[Tensor, "networks params"]]]:
    """Make all sets of networks: (method, kind, networks)."""
    made: list[tuple[str, Kind, Tensor]] = [(ZOO, "baseline", anchors)]
    pool = there.pool.inputs
    wide = wider_pool(pool, settings.wider * len(pool), generator_of("wider pool", seed))
    config = RefineConfig(steps=settings.steps, seed=seed)
    for way, (sigma, parents, wider) in WAYS.items():
        queries = wide if wider else pool
        outputs = there.population.outputs_no_grad(anchors, queries)
        source = generator_of("ensembles", way, seed)
        ours, fresh = imitators(
            *(there.population, anchors, outputs, queries, settings.draws, source, config, sigma, parents)
        )
        made.append((way, "ours", ours))
        made.append((f"fresh networks, {way}", "baseline", fresh))
    return made


def choices(
    outputs: Float[Tensor, "networks queries classes"], labels: Int[Tensor, " queries"], size: int
) -> dict[str, Int[Tensor, " members"]]:
    """Choose members in two ways, both on validation images.

    Args:
        outputs: Raw outputs of the candidates on validation images.
        labels: Classes of these images.
        size: Members to choose.
    """
    size = min(size, len(outputs))
    accuracy = (decide(outputs) == labels.to(outputs.device)).float().mean(1)
    return {
        "best": accuracy.topk(size).indices,
        "greedy": greedy(outputs, labels, size),
    }


def greedy(
    outputs: Float[Tensor, "networks queries classes"], labels: Int[Tensor, " queries"], size: int
) -> Int[Tensor, " members"]:
    """Choose members one after the other, each such that the loss of the mean logits falls most.

    Caruana et al., Ensemble selection from libraries of models (ICML 2004), without repetition.

    Example:
        >>> outputs = torch.tensor([[[2.0, 0.0]], [[0.0, 3.0]], [[3.0, 0.0]]])
        >>> greedy(outputs, torch.tensor([0]), 2)
        tensor([2, 0])

    Args:
        outputs: Raw outputs of the candidates on validation images.
        labels: Classes of these images.
        size: Members to choose, at most as many as there are candidates.
    """
    labels = labels.to(outputs.device)
    total, chosen = torch.zeros_like(outputs[0]), torch.empty(0, dtype=torch.int64, device=outputs.device)
    for count in range(1, size + 1):  # a few turns; each looks at all candidates at once
        together = (total + outputs) / count
        losses = F.cross_entropy(together.flatten(0, 1), labels.repeat(len(outputs)), reduction="none")
        each = losses.view(len(outputs), -1).mean(1).nan_to_num(torch.inf)
        each[chosen] = torch.inf
        pick = each.argmin()
        chosen, total = torch.cat([chosen, pick[None]]), total + outputs[pick]
    return chosen


def numbers_of(
    outputs: dict[str, Tensor], rows: Int[Tensor, " members"], exams: dict[str, Exam]
) -> dict[str, float]:
    """Measure one ensemble on validation and test images."""
    together = {split: out[rows].mean(0, keepdim=True) for split, out in outputs.items()}
    right = {split: float(exams[split].accuracy(decide(out))[0]) for split, out in together.items()}
    classes, labels = decide(outputs["test"][rows]), exams["val"].labels.to(together["val"].device)
    return {
        "ensemble accuracy": right["test"],
        "validation ensemble accuracy": right["val"],
        "validation loss": float(F.cross_entropy(together["val"][0], labels)),
        "member accuracy": float(exams["test"].accuracy(classes).mean()),
        "disagreement": disagreement(classes),
    }


def _records(about: dict[str, Any], numbers: dict[str, float]) -> list[Record]:
    return [Record.build({**about, "metric": metric, "value": value}) for metric, value in numbers.items()]
