"""weightatlas generate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from weightatlas.cli import arguments, console
from weightatlas.cli.arguments import WrongUsage
from weightatlas.cli.inputs import open_autoencoder, open_part, write_networks
from weightatlas.errors import gather

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from weightatlas.encoders import Autoencoder
    from weightatlas.evaluate.exam import Exam
    from weightatlas.latent.samplers import SampleConfig
    from weightatlas.results import Record
    from weightatlas.weights.batch import Weights
    from weightatlas.zoo import Zoo

IMITATION = "imitation"
COPIES = "nearest training networks"
Select = Literal["sub", "boot", "gauss"]
_TABLE = (
    *("accuracy", "best accuracy", "good", "good and new at 1x", "copies"),
    *("disagreement", "nearest training network"),
)
_CHOSEN = (
    "'good' counts the validation images on which --select chose as well, which flatters the selected "
    "networks; 'accuracy' is of test images, which choose nothing."
)


@dataclass(frozen=True, slots=True)
class _Way:
    """How codes are drawn, and which networks are kept."""

    method: str
    settings: "SampleConfig"
    select: Select | None
    draws: int
    rounds: int

    @property
    def name(self) -> str:
        """What the table calls it."""
        if self.select is None:
            return self.method
        rounds = "" if self.select == "sub" else f", {self.rounds} rounds"
        return f"{self.method}, {self.select.upper()} of {self.draws}{rounds}"


def generate(
    run: Annotated[Path, tyro.conf.Positional],
    zoo: Annotated[Path, tyro.conf.Positional],
    out: Path,
    count: int = 32,
    method: str = "pca_kde",
    select: Select | None = None,
    draws: int | None = None,
    rounds: int | None = None,
    anchors: float = 0.3,
    bandwidth: float | None = None,
    set: tuple[str, ...] = (),
    seed: int = 0,
    json: bool = False,
    dry_run: bool = False,
) -> None:
    """Make new networks near the best training networks, as plain checkpoints.

    Anchors are chosen by validation accuracy; the new networks are scored on test images, beside the
    training networks nearest to them, averaged anchors and noise around anchors.

    Example:
        weightatlas generate runs/sane runs/digits-zoo --count 32 --out new-networks
        weightatlas generate runs/sane runs/digits-zoo --count 10 --select sub --draws 50 --out best-of-50

    Args:
        run: Folder of the run, or of a saved encoder.
        zoo: The zoo it was fitted on.
        out: Folder of the new checkpoints (.safetensors) and results.json.
        count: How many networks, at least 2.
        method: How codes are drawn: pca_kde, pca_kde_joint, kde_dimension, kde_token, kde_joint, gaussian,
            uniform, prior, neighborhood, neighborhood_isomap, neighborhood_umap, gan, flow; kde_legacy as
            released code did, pca_kde_legacy the same in principal coordinates; or "imitation": fresh
            networks that learn, on unlabelled training images, to behave like mixtures of anchors, without
            codes.
        select: Draw more and keep the best on validation images: "sub" once, "boot" again and again around
            the best of the round before, "gauss" as boot, but the first round draws by "prior", without
            prompts.
        draws: Networks drawn (in each round) with --select; five times --count by default.
        rounds: Rounds of --select boot and gauss; 3 by default.
        anchors: Share of the training networks that serve as anchors.
        bandwidth: Width of the kernel of kde_* and pca_kde*, in standard deviations, 0.2 by default; of
            *_legacy absolute, 0.002 by default, as published.
        set: Settings of the method as key=value: bandwidth (as above), components (of pca_*, gan, flow),
            neighbors (of neighborhood and neighborhood_isomap), steps (of training, gan and flow), sigma
            (of prior and --select gauss: standard deviation of codes, by default that of the anchors).
        seed: Seed of the draws.
        json: Print the measured numbers as JSON.
        dry_run: Only say what would be made.
    """
    import torch

    from weightatlas.evaluate.exam import exam_of
    from weightatlas.latent.sample import choose_anchors
    from weightatlas.results import append_records
    from weightatlas.runtime import generator_of
    from weightatlas.weights.batch import weights_of

    way = _way(count, method, _settings(bandwidth, set, method), select, draws, rounds)
    train = open_part(zoo, "train")
    encoder = open_autoencoder(run, train)
    weights = train.weights()
    encoder.require(weights.spec)
    scores = torch.from_numpy(train.column("val_acc").astype("float32"))
    chosen = choose_anchors(scores, anchors)
    if dry_run:
        facts = {"networks": count, "anchors": len(chosen), "method": way.name, "folder": str(out)}
        console.print_facts(facts, as_json=json)
        return
    best = weights_of(weights.values[chosen], weights.spec)
    validation = exam_of(train.population(), *train.task().split("val"))
    source = generator_of("generate", seed)
    if method == IMITATION:
        made, name = _imitations(train, best, count, source), method
    else:
        made, name = _drawn(way, encoder, best, count, source, validation), f"{encoder.name}, {way.name}"
    records = _judge(train, best, made, name, seed, validation, scores[chosen])
    write_networks(out, made, train, [f"generated_{place:04d}" for place in range(count)])
    append_records(out / "results.json", records)
    console.print_records(records, title=f"{count} new networks in {out}", metrics=_TABLE, as_json=json)
    if select is not None:
        console.say(_CHOSEN)


def _settings(bandwidth: float | None, words: Sequence[str], method: str) -> "SampleConfig":
    """Read what the user set of the method."""
    from weightatlas.latent.samplers import SampleConfig

    found = arguments.settings(words)
    if method == IMITATION and (found or bandwidth is not None):
        raise WrongUsage("--method imitation draws no codes and takes neither --bandwidth nor --set.")
    if bandwidth is not None and "bandwidth" in found:
        raise WrongUsage("The bandwidth is given twice, by --bandwidth and by --set.")
    return SampleConfig.build(found if bandwidth is None else {**found, "bandwidth": bandwidth})


def _way(
    count: int,
    method: str,
    settings: "SampleConfig",
    select: Select | None,
    draws: int | None,
    rounds: int | None,
) -> _Way:
    """Refuse what contradicts itself, all at once, and fill in the defaults of selection."""
    from weightatlas.latent.sample import samplers
    from weightatlas.latent.select import DRAWS

    if method != IMITATION:
        samplers.get(method)
    asked = DRAWS * count if draws is None else draws
    wrong = {
        f"--count: at least 2 networks, since their variety is measured, not {count}.": count < 2,
        "--draws is of --select, which is not given.": draws is not None and select is None,
        "--rounds is of --select boot and gauss.": rounds is not None and select in (None, "sub"),
        f"--draws: to keep {count} networks, at least as many must be drawn, not {draws}.": asked < count,
        f"--rounds: at least 1, not {rounds}.": rounds is not None and rounds < 1,
        "--method imitation draws no codes among which --select could choose.": method == IMITATION
        and select is not None,
        f"--select {select} draws around the best of a round, which --method prior forgets; "
        "--select gauss starts at the prior.": method == "prior" and select in ("boot", "gauss"),
    }
    gather(WrongUsage, [text for text, is_wrong in wrong.items() if is_wrong])
    return _Way(method, settings, select, asked, 3 if rounds is None else rounds)


def _drawn(
    way: _Way, encoder: "Autoencoder", best: "Weights", count: int, source: "Generator", validation: "Exam"
) -> "Tensor":
    """Draw codes around the anchors' and decode them; choose on validation images if asked to."""
    import torch

    from weightatlas.latent.sample import generate as draw
    from weightatlas.latent.select import bootstrap, subsample

    with torch.no_grad():
        codes = encoder.encode(best).codes
    if way.select is None:
        return draw(encoder, codes, best.spec, count, source, way.method, way.settings)

    def scores(values: "Tensor") -> "Tensor":
        return validation.accuracy(validation.classes(values))

    common = encoder, codes, best.spec, count, source, scores, way.method
    if way.select == "sub":
        return subsample(*common, way.draws, way.settings)[0]
    first = "prior" if way.select == "gauss" else None
    return bootstrap(*common, first, way.rounds, way.draws, way.settings)[0]


def _imitations(train: "Zoo", best: "Weights", count: int, source: "Generator") -> "Tensor":
    """Make networks by imitation of the anchors on the training images of the zoo's task."""
    from weightatlas.latent.imitate import imitations, wider_pool
    from weightatlas.tasks import QueryPool

    known = QueryPool(train.task(), "train").inputs
    pool = wider_pool(known, 4 * len(known), source) if known.ndim == 4 else known
    return imitations(best.values, best.spec, train.population(), pool, count, source)


def _judge(
    train: "Zoo",
    best: "Weights",
    made: "Tensor",
    name: str,
    seed: int,
    validation: "Exam",
    anchors: "Tensor",
) -> "list[Record]":
    """Score the new networks, copies and the trivial ones on test images; count the good on validation."""
    import numpy as np
    import torch

    from weightatlas.evaluate.diversity import surroundings
    from weightatlas.evaluate.exam import exam_of
    from weightatlas.evaluate.generation import judge_generated, trivial_sets
    from weightatlas.evaluate.novelty import novelty
    from weightatlas.results import stamped
    from weightatlas.runtime import generator_of

    values, spec = train.weights().values, best.spec
    exam = exam_of(train.population(), *train.task().split("test"))
    lineage = torch.from_numpy(np.unique(train.column("lineage"), return_inverse=True)[1])
    around = surroundings(values, spec, best.values[0], lineage)
    rivals = {COPIES: values[around.train.nearest(made)[1]]}
    rivals |= trivial_sets(best.values, len(made), generator_of("trivial", seed), spec)
    sets = {name: made, **rivals}
    records = []
    for one in judge_generated(sets, exam, values, around, baselines=tuple(rivals)):
        accuracy = validation.accuracy(validation.classes(sets[one.method]))
        new = novelty(accuracy, one.diversity.nearest, one.diversity.unit, anchors)
        about = {"bench": "generate", "tier": "own", "zoo": train.name, "seeds": (seed,)}
        records += one.records(**about)
        records += new.records(one.method, one.kind, n=len(accuracy), **about)
    return stamped(records)
