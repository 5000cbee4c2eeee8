"""weightatlas generate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from weightatlas.cli import console
from weightatlas.cli.arguments import WrongUsage
from weightatlas.cli.inputs import open_autoencoder, open_part, write_networks

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from weightatlas.results import Record
    from weightatlas.weights.batch import Weights
    from weightatlas.zoo import Zoo

IMITATION = "imitation"
_TABLE = ("accuracy", "best accuracy", "disagreement", "nearest training network")


def generate(
    run: Annotated[Path, tyro.conf.Positional],
    zoo: Annotated[Path, tyro.conf.Positional],
    out: Path,
    count: int = 32,
    method: str = "pca_kde",
    anchors: float = 0.3,
    bandwidth: float = 0.2,
    seed: int = 0,
    json: bool = False,
    dry_run: bool = False,
) -> None:
    """Make new networks near the best training networks, as plain checkpoints.

    Anchors are chosen by validation accuracy; the new networks are scored on test images, beside
    averaged anchors and noise around anchors.

    Example:
        weightatlas generate runs/sane runs/digits-zoo --count 32 --out new-networks

    Args:
        run: Folder of the run, or of a saved encoder.
        zoo: The zoo it was fitted on.
        out: Folder of the new checkpoints (.safetensors) and results.json.
        count: How many networks, at least 2.
        method: How codes are drawn: pca_kde, neighborhood, gaussian, kde_token, flow, gan, ...; or
            "imitation": fresh networks that learn, on unlabelled training images, to behave like mixtures
            of anchors, without codes.
        anchors: Share of the training networks that serve as anchors.
        bandwidth: Width of the kernel, in standard deviations, of methods that have one (kde_*, pca_kde*).
        seed: Seed of the draws.
        json: Print the measured numbers as JSON.
        dry_run: Only say what would be made.
    """
    import torch

    from weightatlas.latent.sample import choose_anchors
    from weightatlas.latent.sample import generate as draw
    from weightatlas.latent.samplers import SampleConfig, samplers
    from weightatlas.results import append_records
    from weightatlas.runtime import generator_of
    from weightatlas.weights.batch import weights_of

    if count < 2:
        raise WrongUsage(f"--count: at least 2 networks, since their variety is measured, not {count}.")
    settings = SampleConfig.build({"bandwidth": bandwidth})
    if method != IMITATION:
        samplers.get(method)
    train = open_part(zoo, "train")
    encoder = open_autoencoder(run, train)
    weights = train.weights()
    encoder.require(weights.spec)
    chosen = choose_anchors(torch.from_numpy(train.column("val_acc").astype("float32")), anchors)
    if dry_run:
        facts = {"networks": count, "anchors": len(chosen), "method": method, "folder": str(out)}
        console.print_facts(facts, as_json=json)
        return
    best = weights_of(weights.values[chosen], weights.spec)
    source = generator_of("generate", seed)
    if method == IMITATION:
        made = _imitations(train, best, count, source)
    else:
        with torch.no_grad():
            codes = encoder.encode(best).codes
        made = draw(encoder, codes, weights.spec, count, source, method, settings)
    name = method if method == IMITATION else f"{encoder.name}, {method}"
    records = _judge(train, best, made, name, seed)
    names = [f"generated_{place:04d}" for place in range(count)]
    write_networks(out, made, train, names)
    append_records(out / "results.json", records)
    console.print_records(records, title=f"{count} new networks in {out}", metrics=_TABLE, as_json=json)


def _imitations(train: "Zoo", best: "Weights", count: int, source: "Generator") -> "Tensor":
    """Make networks by imitation of the anchors on the training images of the zoo's task."""
    from weightatlas.latent.imitate import imitations, wider_pool
    from weightatlas.tasks import QueryPool

    known = QueryPool(train.task(), "train").inputs
    pool = wider_pool(known, 4 * len(known), source) if known.ndim == 4 else known
    return imitations(best.values, best.spec, train.population(), pool, count, source)


def _judge(train: "Zoo", best: "Weights", made: "Tensor", name: str, seed: int) -> "list[Record]":
    """Score the new networks and the trivial ones on the task's test images."""
    import numpy as np
    import torch

    from weightatlas.evaluate.diversity import surroundings
    from weightatlas.evaluate.exam import exam_of
    from weightatlas.evaluate.generation import judge_generated, trivial_sets
    from weightatlas.results import stamped
    from weightatlas.runtime import generator_of

    values, spec = train.weights().values, best.spec
    exam = exam_of(train.population(), *train.task().split("test"))
    trivial = trivial_sets(best.values, len(made), generator_of("trivial", seed), spec)
    lineage = torch.from_numpy(np.unique(train.column("lineage"), return_inverse=True)[1])
    around = surroundings(values, spec, best.values[0], lineage)
    judged = judge_generated({name: made, **trivial}, exam, values, around, baselines=tuple(trivial))
    context = {"bench": "generate", "tier": "own", "zoo": train.name, "seeds": (seed,)}
    return stamped(record for one in judged for record in one.records(**context))
