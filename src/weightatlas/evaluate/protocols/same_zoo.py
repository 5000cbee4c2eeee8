"""Properties of unseen networks of one zoo from their weights: every encoder beside its floors."""

import logging
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.base import Autoencoder, Encoder, encoders
from weightatlas.encoders.heads import HeadConfig
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError, DataError, SpecError
from weightatlas.evaluate.protocols.registry import (
    Card,
    Unit,
    benches,
    cards,
    listed,
    run_units,
    settings_of,
)
from weightatlas.evaluate.protocols.scores import NAMES, ceiling_records, covered, reach_of, scored
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.fit.config import FitConfig
from weightatlas.fit.presets import preset
from weightatlas.predict.features import features_of
from weightatlas.predict.finetune import Finetuning
from weightatlas.predict.property import PropertyPredictor
from weightatlas.predict.single import fit_single
from weightatlas.predict.trees import fit_trees
from weightatlas.results import Record
from weightatlas.runtime import key_of
from weightatlas.weights.batch import Batch

log = logging.getLogger("weightatlas")
ACCURACIES = ("train_acc", "test_acc")
HALVES = "half of the validation networks chooses"  # Part of the names of runs; all chose in older ones.
RIVAL = "layer statistics + boosting"


class Variant(Config):
    """One way to use an encoder.

    Args:
        encoder: Its name.
        preset: Settings from `presets/encoders`.
        settings: Settings that differ.
    """

    encoder: str
    preset: str | None = None
    settings: dict[str, Any] = {}


class SameZooConfig(Config):
    """Settings of `bench same_zoo`.

    Args:
        recipe: Zoo: name of a recipe of the package, or path of a YAML file.
        methods: Names of variants or encoders; empty takes all.
        variants: Name -> encoder and settings.
        targets: Properties, predicted together by one head.
        head: Widths of the head's hidden layers.
        passes: Passes over the training networks, the same for every method.
        batch: Networks per step.
        lr: Peak learning rate.
        draws: Bootstrap draws.
    """

    recipe: str
    methods: tuple[str, ...] = ()
    variants: dict[str, Variant] = {}
    targets: tuple[str, ...] = ("test_acc", "generalization_gap")
    head: tuple[int, ...] = (128,)
    passes: int = Field(ge=1)
    batch: int = Field(default=32, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    draws: int = Field(default=500, ge=1)


cards["same_zoo"] = Card(
    "properties of unseen networks of one zoo: every encoder beside layer statistics and trivial floors",
    "digits_search",
    {"smoke": 0.5, "laptop": None, "paper": None},
    tuple(f"{score} {name}" for name in ("test accuracy", "generalization gap") for score in NAMES[:3]),
    settings=SameZooConfig,
    lists=("methods", "targets"),
)


@benches.register("same_zoo")
def same_zoo(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Train every encoder on one zoo and predict properties of its test networks.

    One checkpoint a network (the last), split by lineage. Encoders are trained end to end with a head for
    all properties at once; the state with the best tau on validation networks is kept. Beside them: layer
    statistics with ridge and boosting, boosting on the hyperparameters alone, the best single statistic, and
    the ceiling that noisy labels set. Intervals of scores are bootstrapped, differences to boosting on the
    same draws; "coverage" is that of 90 % intervals of predictions.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and runs; beside `out` by default.
        changes: Settings that differ from `presets/benches/same_zoo.yaml`.

    Raises:
        ConfigError: A method or a setting is unknown.
    """
    settings = settings_of("same_zoo", tier, SameZooConfig, listed(changes, "methods", "targets"))
    work = {
        "layer statistics + ridge": partial(closed, features="layer_statistics", head="ridge"),
        RIVAL: partial(closed, features="layer_statistics", head="boosting"),
        "deep statistics + committee": partial(closed, features="deep_statistics", head="committee"),
        "hyperparameters + boosting": hyperparameters,
        "best single statistic": single,
        "oracle, noisy labels": _oracle,
    }
    units = [Unit(name, 0, partial(run, settings=settings)) for name, run in work.items()]
    for seed in seeds:
        for name, variant in chosen(settings).items():
            units.append(
                Unit(name, seed, partial(trained, name=name, variant=variant, seed=seed, settings=settings))
            )
    return run_units("same_zoo", tier, out, settings.recipe, units, cache=cache)


def chosen(settings: SameZooConfig) -> dict[str, Variant]:
    """Resolve the methods: named ones, or all variants and every further encoder that cannot decode.

    Raises:
        ConfigError: A method is neither a variant nor an encoder.
    """
    known = {n: v for n, v in settings.variants.items() if v.encoder in encoders.names()}
    if not settings.methods:
        used = {variant.encoder for variant in known.values()}
        rest = [name for name in encoders.names() if name not in used and not _decodes(name)]
        return {**known, **{name: Variant(encoder=name) for name in rest}}
    unknown = [name for name in settings.methods if name not in known and name not in encoders.names()]
    if unknown:
        names = ", ".join(sorted({*known, *encoders.names()}))
        raise ConfigError(f"There is no method '{unknown[0]}' here.", todo=f"Known: {names}.")
    return {name: known.get(name, Variant(encoder=name)) for name in settings.methods}


def trained(there: Stage, name: str, variant: Variant, seed: int, settings: SameZooConfig) -> list[Record]:
    """Train one encoder with its head and score it; nothing if it refuses these networks."""
    there = last(there)
    encoder = made(there, variant, seed)
    if encoder is None:
        return []
    how = FitConfig(
        passes=settings.passes, batch=settings.batch, lr=settings.lr, seed=seed, device=str(there.device)
    )
    tuning = Finetuning(head=HeadConfig(hidden=settings.head), fit=how)
    mark = f"{key_of(how.identity, settings.head, settings.targets, variant, HALVES) & 0xFFFF_FFFF:08x}"
    place = there.cache / "runs" / f"same_zoo-{there.name}-{there.tier}-{variant.encoder}-{seed}-{mark}"
    predictor = PropertyPredictor(encoder, seed=seed, finetune=tuning)
    predictor.fit(there.part("train"), settings.targets, there.part("val"), place)
    return judged(there, name, "ours", predictor, settings, seed)


def made(there: Stage, variant: Variant, seed: int) -> Encoder | None:
    """Make an encoder and lend it code if it runs networks; none if it refuses the zoo's layouts."""
    base = {} if variant.preset is None else preset(variant.preset).settings
    specs = there.zoo.specs
    try:
        encoder = create_encoder(variant.encoder, specs[0], seed, **{**base, **variant.settings})
        if encoder.executes:
            for spec in specs:
                encoder.bind(there.zoo.network(spec), there.pool.inputs)
        for spec in specs:
            encoder.require(spec)
    except (SpecError, DataError) as error:
        log.info("%s takes no part: %s", variant.encoder, error.what)
        return None
    return encoder


def closed(there: Stage, features: str, head: Any, settings: SameZooConfig) -> list[Record]:
    """Statistics of weights with a head in closed form or of trees."""
    there = last(there)
    kind = "ours" if head == "committee" else "baseline"
    predictor = fitted(there, features, head, settings.targets)
    return judged(there, f"{features.replace('_', ' ')} + {head}", kind, predictor, settings)


def hyperparameters(there: Stage, settings: SameZooConfig) -> list[Record]:
    """Boosting on how the networks were trained, without a look at their weights."""
    there = last(there)
    x = {part: _recipe_features(there, part) for part in ("train", "val", "test")}
    y = {part: _labels(there, part, settings) for part in x}
    trees = fit_trees(x["train"], y["train"], (x["val"], y["val"]))
    return found(there, "hyperparameters + boosting", "baseline", trees.predict(x["test"]), settings)


def single(there: Stage, settings: SameZooConfig) -> list[Record]:
    """The layer statistic that orders the training networks best, per property."""
    there = last(there)
    train, test = (features_of("layer_statistics", batch(there, p, settings)) for p in ("train", "test"))
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
    boosting = "layer_statistics", "boosting", settings.targets
    rival = None if kind == "baseline" else fitted(there, *boosting).predict(test)
    about = {"method": method, "kind": kind, **there.about("same_zoo", seed)}
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
    return PropertyPredictor(features, head).fit(there.part("train"), targets, there.part("val"))


def _oracle(there: Stage, settings: SameZooConfig) -> list[Record]:
    """What noisy labels leave to the best prediction."""
    there = last(there)
    test = batch(there, "test", settings)
    images = {part: len(there.task.labels[part]) for part in ("train", "test")}
    about = {"method": "oracle, noisy labels", "kind": "baseline", **there.about("same_zoo")}
    return ceiling_records(test.labels, settings.targets, images, there.task.classes, about)


def _labels(there: Stage, part: str, settings: SameZooConfig) -> Float[Tensor, "networks targets"]:
    found = batch(there, part, settings).labels
    return torch.stack([found[name].double() for name in settings.targets], dim=1)


def _recipe_features(there: Stage, part: str) -> Float[Tensor, "networks features"]:
    """Hyperparameters as numbers: text as one column per value of the training networks."""
    columns = []
    for name in (n for n in there.part("train").table.names if n.startswith("hp.")):
        known, own = there.part("train").column(name), there.part(part).column(name)
        if known.dtype == object and any(isinstance(value, str) for value in known):
            columns += [own == value for value in sorted({str(v) for v in known})]
        else:
            columns.append(np.array([np.nan if v is None else float(v) for v in own]))
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float64)).nan_to_num(-1.0)


def _decodes(name: str) -> bool:
    factory: Any = encoders.get(name)
    return issubclass(factory, Autoencoder)
