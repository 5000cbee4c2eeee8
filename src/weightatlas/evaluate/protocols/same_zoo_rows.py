"""Rows of tables on one zoo: encoders and statistics with heads, trivial floors, and what noise leaves."""

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.heads import HeadConfig
from weightatlas.errors import ConfigError, SpecError
from weightatlas.evaluate.protocols.hyperparameters import recipe_features
from weightatlas.evaluate.protocols.scores import ceiling_records, covered, reach_of, scored
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.evaluate.protocols.variants import Variant, made
from weightatlas.fit.config import FitConfig
from weightatlas.predict.features import FLOORS, features_of
from weightatlas.predict.finetune import Finetuning
from weightatlas.predict.heads import NAMES as HEADS
from weightatlas.predict.property import PropertyPredictor
from weightatlas.predict.single import fit_single
from weightatlas.predict.trees import fit_trees
from weightatlas.results import Kind, Record
from weightatlas.runtime import key_of
from weightatlas.weights.batch import Batch

ACCURACIES = ("train_acc", "test_acc")
HALVES = "half of the validation networks chooses"  # Part of the names of runs; all chose in older ones.
RIVAL = "layer statistics + boosting"


class SameZooConfig(Config):
    """Settings of `bench same_zoo`.

    Args:
        recipe: Zoo: name of a recipe of the package, or path of a YAML file.
        methods: Names of variants or encoders; empty takes all.
        variants: Name -> encoder and settings.
        statistics: Statistics of weights with a head, "features + head".
        targets: Properties, predicted together by one head.
        head: Widths of the head's hidden layers.
        passes: Passes over the training networks, the same for every method.
        batch: Networks per step.
        lr: Peak learning rate.
        draws: Bootstrap draws.
    """

    bench: ClassVar[str] = "same_zoo"  # The name in records; benches of the same rows have other ones.
    recipe: str
    methods: tuple[str, ...] = ()
    variants: dict[str, Variant] = {}
    statistics: tuple[str, ...] = ("layer statistics + ridge", RIVAL, "deep statistics + committee")
    targets: tuple[str, ...] = ("test_acc", "generalization_gap")
    head: tuple[int, ...] = (128,)
    passes: int = Field(ge=1)
    batch: int = Field(default=32, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    draws: int = Field(default=500, ge=1)


def parsed(name: str) -> tuple[str, str, Kind]:
    """Read "features + head"; a committee is ours, all else a floor.

    Example:
        >>> parsed("layer statistics + ridge")
        ('layer_statistics', 'ridge', 'baseline')

    Raises:
        ConfigError: There are no such features, or there is no such head.
    """
    words, _, head = name.partition(" + ")
    features = words.replace(" ", "_")
    if features not in FLOORS or head not in HEADS:
        known = f"{', '.join(FLOORS).replace('_', ' ')}; heads: {', '.join(HEADS)}"
        raise ConfigError(f"'{name}' is no statistic with a head.", todo=f"Statistics: {known}.")
    return features, head, "ours" if head == "committee" else "baseline"


def trained(there: Stage, name: str, variant: Variant, seed: int, settings: SameZooConfig) -> list[Record]:
    """Train one encoder with its head and score it.

    Raises:
        SpecError: It refuses these networks.
    """
    there = last(there)
    encoder = made(there, variant, seed)
    how = FitConfig(
        passes=settings.passes, batch=settings.batch, lr=settings.lr, seed=seed, device=str(there.device)
    )
    tuning = Finetuning(head=HeadConfig(hidden=settings.head), fit=how)
    mark = f"{key_of(how.identity, settings.head, settings.targets, variant, HALVES) & 0xFFFF_FFFF:08x}"
    label = f"{settings.bench}-{there.name}-{there.tier}-{variant.encoder}-{seed}-{mark}"
    place = there.cache / "runs" / label
    predictor = PropertyPredictor(encoder, seed=seed, finetune=tuning, kinds=as_they_are(settings.targets))
    predictor.fit(there.part("train"), settings.targets, there.part("val"), place)
    return judged(there, name, "ours", predictor, settings, seed)


def as_they_are(targets: tuple[str, ...]) -> dict[str, str]:
    """Take all properties as numbers in their own units; `bench targets` has the other kinds."""
    return dict.fromkeys(targets, "real")


def closed(there: Stage, name: str, settings: SameZooConfig) -> list[Record]:
    """Statistics of weights with a head in closed form or of trees.

    Raises:
        SpecError: The statistics refuse these networks.
    """
    there = last(there)
    features, head, kind = parsed(name)
    return judged(there, name, kind, fitted(there, features, head, settings.targets), settings)


def comparable(there: Stage) -> str:
    """Name the statistics that boosting reads: of each tensor in one layout, pooled over those of several."""
    return "layer_statistics" if len({s.layout_id for s in there.zoo.specs}) == 1 else "pooled_statistics"


def hyperparameters(there: Stage, settings: SameZooConfig) -> list[Record]:
    """Boosting on how the networks were trained, without a look at their weights."""
    there = last(there)
    x = {part: recipe_features(there, part) for part in ("train", "val", "test")}
    y = {part: _labels(there, part, settings) for part in x}
    trees = fit_trees(x["train"], y["train"], (x["val"], y["val"]))
    return found(there, "hyperparameters + boosting", "baseline", trees.predict(x["test"]), settings)


def single(there: Stage, settings: SameZooConfig) -> list[Record]:
    """The statistic that orders the training networks best, per property."""
    there = last(there)
    train, test = (features_of(comparable(there), batch(there, p, settings)) for p in ("train", "test"))
    labels = _labels(there, "train", settings)
    fits = [fit_single(train.cpu(), labels[:, place]) for place in range(len(settings.targets))]
    predicted = torch.stack([fit.predict(test.cpu()) for fit in fits], dim=1)
    orders = torch.stack([fit.order(test.cpu()) for fit in fits], dim=1)
    return found(there, "best single statistic", "baseline", predicted, settings, orders=orders)


def judged(
    there: Stage, method: str, kind: Any, predictor: PropertyPredictor, settings: SameZooConfig, seed: int = 0
) -> list[Record]:
    """Score a fitted predictor and its intervals."""
    predicted = predictor.predict(batch(there, "test", settings))
    return found(there, method, kind, predicted, settings, seed, reach=reach_of(predictor, predicted))


def found(
    there: Stage,
    method: str,
    kind: Any,
    predicted: Float[Tensor, "networks targets"],
    settings: SameZooConfig,
    seed: int = 0,
    orders: Tensor | None = None,
    reach: Tensor | None = None,
) -> list[Record]:
    """Score predictions of the test networks, and intervals of a given reach around them."""
    test = batch(there, "test", settings)
    rival = None if kind == "baseline" else _boosting(there, settings, test)
    about = {"method": method, "kind": kind, **there.about(settings.bench, seed)}
    given = predicted, test.labels, settings.targets
    scores = scored(*given, there.task.classes, about, settings.draws, rival, orders)
    return scores if reach is None else [*scores, *covered(*given, reach, about)]


def batch(there: Stage, part: str, settings: SameZooConfig) -> Batch:
    """Networks of a part with the properties and the accuracies."""
    labels = tuple(dict.fromkeys((*settings.targets, *ACCURACIES)))
    return there.part(part).batch(labels)


@lru_cache(maxsize=4)
def last(there: Stage) -> Stage:
    """The last checkpoint of every network only."""
    networks, step = there.zoo.column("network"), there.zoo.column("step")
    _, inverse = np.unique(networks.astype(str), return_inverse=True)
    latest = np.full(inverse.max() + 1, -1)
    np.maximum.at(latest, inverse, step.astype(np.int64))
    zoo = there.zoo[step == latest[inverse]]
    return Stage(zoo, there.tier, there.cache, str(there.device), there.name)


@lru_cache(maxsize=8)
def fitted(there: Stage, features: str, head: Any, targets: tuple[str, ...]) -> PropertyPredictor:
    """Fit statistics once, for themselves and for the differences to all methods."""
    predictor = PropertyPredictor(features, head, kinds=as_they_are(targets))
    return predictor.fit(there.part("train"), targets, there.part("val"))


def _boosting(there: Stage, settings: SameZooConfig, test: Batch) -> Float[Tensor, "networks targets"] | None:
    """What boosting on statistics predicts; none where statistics refuse the networks."""
    try:
        return fitted(there, comparable(there), "boosting", settings.targets).predict(test)
    except SpecError:
        return None


def oracle(there: Stage, settings: SameZooConfig) -> list[Record]:
    """What noisy labels leave to the best prediction."""
    there = last(there)
    test = batch(there, "test", settings)
    images = {part: len(there.task.labels[part]) for part in ("train", "test")}
    about = {"method": "oracle, noisy labels", "kind": "baseline", **there.about(settings.bench)}
    return ceiling_records(test.labels, settings.targets, images, there.task.classes, about)


def _labels(there: Stage, part: str, settings: SameZooConfig) -> Float[Tensor, "networks targets"]:
    found = batch(there, part, settings).labels
    return torch.stack([found[name].double() for name in settings.targets], dim=1)
