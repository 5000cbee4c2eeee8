"""What benches across zoos share: zoos of several data sets and architectures, predictions between them."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor

from weightatlas.atomic import replacing
from weightatlas.config import Config
from weightatlas.encoders.heads import HeadConfig
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError, DataError, SpecError
from weightatlas.evaluate.protocols.registry import Unit
from weightatlas.evaluate.protocols.same_zoo import HALVES, Variant
from weightatlas.fit.config import FitConfig
from weightatlas.fit.presets import preset
from weightatlas.predict.finetune import Finetuning
from weightatlas.predict.metrics import kendall
from weightatlas.predict.outoffold import Calibration
from weightatlas.predict.property import PropertyPredictor
from weightatlas.results import Kind, Record
from weightatlas.runtime import key_of, pick_device
from weightatlas.weights.batch import Batch
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import load_recipe
from weightatlas.zoo.zoo import Zoo

log = logging.getLogger("weightatlas")
Place = tuple[str, str]
"""A zoo: name of its architecture and of its data set."""
_CLOSED: dict[str, tuple[str, str, Kind]] = {
    "layer statistics + boosting": ("layer_statistics", "boosting", "baseline"),
    "pooled statistics + ridge": ("pooled_statistics", "ridge", "baseline"),
    "pooled statistics + committee": ("pooled_statistics", "committee", "ours"),
}


class CrossConfig(Config):
    """Settings of the benches across zoos.

    Args:
        recipe: What all zoos have in common; the bench puts in task and architecture.
        tasks: Name of a data set -> name of the task and options that differ.
        networks: Architectures.
        target: Property.
        methods: Names of variants, "layer statistics + boosting", ...; empty takes all.
        variants: Name -> encoder and settings.
        together: Name of a method -> methods whose predictions it averages.
        head: Widths of the head's hidden layers.
        passes: Passes over the training networks, the same for every encoder.
        batch: Networks per step.
        lr: Peak learning rate.
        level: Wanted coverage of intervals.
    """

    recipe: str = "search_8x8"
    tasks: dict[str, dict[str, Any]]
    networks: tuple[str, ...]
    target: str = "test_acc"
    methods: tuple[str, ...] = ()
    variants: dict[str, Variant] = {}
    together: dict[str, tuple[str, ...]] = {}
    head: tuple[int, ...] = (128,)
    passes: int = Field(ge=1)
    batch: int = Field(default=32, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    level: float = Field(default=0.9, gt=0, lt=1)

    def chosen(self) -> tuple[str, ...]:
        """Names of the methods, in order.

        Raises:
            ConfigError: One is unknown.
        """
        known = (*_CLOSED, *self.variants, *self.together)
        for name in self.methods:
            if name not in known:
                raise ConfigError(f"There is no method '{name}' here.", todo=f"Known: {', '.join(known)}.")
        return self.methods or known


@dataclass(frozen=True)
class Crossing:
    """Zoos by architecture and data set, made when they are first asked for.

    Args:
        settings: Of the bench.
        tier: Size.
        cache: Folder of zoos and runs.
        zoos: Those that are open.
    """

    settings: CrossConfig
    tier: str
    cache: Path
    zoos: dict[Place, Zoo] = field(default_factory=dict)

    def zoo(self, place: Place) -> Zoo:
        """Populate a zoo, or reopen it."""
        if place not in self.zoos:
            network, name = place
            recipe = load_recipe(self.settings.recipe, self.tier)
            about = self.settings.tasks[name]
            options = {**recipe.task_options, **about.get("options", {})}
            label = f"{recipe.name}-{name}-{network}"
            own = recipe.replace(name=label, task=about["task"], task_options=options, network=network)
            self.zoos[place] = populate(own, self.cache / "zoos" / f"{label}-{self.tier}")
        return self.zoos[place]

    def part(self, place: Place, part: str) -> Batch:
        """Networks of a part with the property."""
        return self.zoo(place).split(part).batch((self.settings.target,))  # type: ignore[arg-type]

    def truth(self, place: Place, part: str = "test") -> Float[Tensor, " networks"]:
        """The property of the networks of a part."""
        return self.part(place, part).labels[self.settings.target].double()


def units(routes: Mapping[Place, Sequence[Place]], settings: CrossConfig, seeds: Sequence[int]) -> list[Unit]:
    """A unit per method and seed; methods without chance run once."""
    found = []
    for name in settings.chosen():
        for seed in seeds[:1] if name in _CLOSED and _CLOSED[name][1] != "committee" else seeds:
            found.append(Unit(name, seed, partial(measured, method=name, seed=seed, routes=routes)))
    return found


def measured(
    there: Crossing, method: str, seed: int, routes: Mapping[Place, Sequence[Place]], bench: str = ""
) -> list[Record]:
    """Train a method on every source zoo and score it on the test networks of its targets.

    Args:
        there: The zoos.
        method: Its name.
        seed: Of initialization and training.
        routes: Source -> targets, the source itself among them if wanted.
        bench: Name of the bench; by the number of architectures by default.
    """
    bench = bench or ("cross_architecture" if len(there.settings.networks) > 1 else "cross_dataset")
    scores: dict[tuple[Place, Place], dict[str, float]] = {}
    for source, targets in routes.items():
        found = predictions(there, method, source, targets, seed)
        if found is None:
            return []
        true = torch.cat([there.truth(source, part) for part in ("train", "val")])
        known = Calibration(found["calibration"][:, None], true[:, None], torch.zeros(len(true)).int())
        for target in targets:
            own, true = found["/".join(target)], there.truth(target)
            reach = known.reach(own[:, None], there.settings.level)[:, 0]
            held = (own - true).abs() <= reach
            tau = kendall(own, true, there.settings.target) if bool((own != own[0]).any()) else 0.0
            numbers = {"tau": tau, "coverage": float(held.double().mean()), "width": 2 * float(reach.mean())}
            scores[source, target] = numbers
    kind: Kind = _CLOSED[method][2] if method in _CLOSED else "ours"
    about = {"bench": bench, "tier": there.tier, "zoo": there.settings.recipe, "method": method, "kind": kind}
    count = sum(len(there.truth(target)) for _, target in scores)
    numbers = summarized(scores)
    return [
        Record.build({**about, "seeds": (seed,), "metric": metric, "value": value, "n": count})
        for metric, value in numbers.items()
    ]


def summarized(scores: Mapping[tuple[Place, Place], Mapping[str, float]]) -> dict[str, float]:
    """Every pair's tau and coverage, means over the pairs of each row, and over all.

    Args:
        scores: (source, target) -> scores.
    """
    several = len({place[0] for pair in scores for place in pair}) > 1
    name = {place: "/".join(place) if several else place[1] for pair in scores for place in pair}
    found = {"tau": fmean(score["tau"] for score in scores.values())}
    rows: dict[str, list[float]] = {}
    for (source, target), score in scores.items():
        row = f"{source[0]} to {target[0]}" if several else f"from {source[1]}"
        rows.setdefault(row, []).append(score["tau"])
    found |= {f"tau {row}": fmean(values) for row, values in rows.items()}
    for label, inside in (("in distribution", True), ("across", False)):
        chosen = [score for (source, target), score in scores.items() if (source == target) == inside]
        if chosen:
            found[f"tau {label}"] = fmean(score["tau"] for score in chosen)
            found[f"coverage {label}"] = fmean(score["coverage"] for score in chosen)
    found["interval width"] = fmean(score["width"] for score in scores.values())
    for (source, target), score in scores.items():
        found[f"tau: {name[source]} to {name[target]}"] = score["tau"]
        found[f"coverage: {name[source]} to {name[target]}"] = score["coverage"]
    return found


def predictions(
    there: Crossing, method: str, source: Place, targets: Sequence[Place], seed: int
) -> dict[str, Tensor] | None:
    """Predict the test networks of a source's targets, or read what was predicted, and what calibrates.

    Returns:
        "network/task" of each target -> float64 predictions, and "calibration" -> those for the train and val
        networks of the source that took no part in them, NaN for others; none if the method refuses networks.
    """
    settings = there.settings
    if method in settings.together:
        parts = [predictions(there, name, source, targets, seed) for name in settings.together[method]]
        kept = [part for part in parts if part is not None]
        if not kept:
            return None
        return {name: torch.stack([part[name] for part in kept]).mean(0) for name in kept[0]}
    folder = folder_of(there, method, source, seed)
    path = folder / "predictions.safetensors"
    known = load_file(path) if path.exists() else {}
    wanted = {"/".join(target): target for target in targets}
    missing = {name: place for name, place in wanted.items() if name not in known}
    if missing or "calibration" not in known:
        try:
            predictor = fitted(there, method, source, seed, folder)
            known |= {name: predictor.predict(there.part(place, "test")) for name, place in missing.items()}
            known["calibration"] = _calibrating(predictor)
        except (SpecError, DataError) as error:
            log.info("%s takes no part: %s", method, error.what)
            return None
        with replacing(path) as temporary:
            save_file({name: value.contiguous() for name, value in known.items()}, temporary)
    return {name: known[name] for name in ("calibration", *wanted)}


def folder_of(there: Crossing, method: str, source: Place, seed: int) -> Path:
    """Folder of the run of a method on one zoo, the same in all benches that train it alike."""
    settings = there.settings
    own = settings.variants[method].model_dump_json() + HALVES if method in settings.variants else method
    shared = {name: getattr(settings, name) for name in ("recipe", "target", "head", "passes", "batch", "lr")}
    mark = f"{key_of(json.dumps(shared), own, seed) & 0xFFFF_FFFF:08x}"
    return there.cache / "runs" / f"cross-{there.tier}-{'-'.join(source)}-{mark}"


def _calibrating(predictor: PropertyPredictor) -> Float[Tensor, " networks"]:
    """Predictions for the train and val networks of a source that took no part in them.

    Raises:
        DataError: There are none.
    """
    found = predictor.calibration_
    if found is None:
        raise DataError("No network is left to measure the width of intervals on.")
    return found.predicted[:, 0]


def fitted(there: Crossing, method: str, source: Place, seed: int, folder: Path) -> PropertyPredictor:
    """Fit a method on the training networks of one zoo; an interrupted training continues."""
    settings = there.settings
    train, val = (there.zoo(source).split(part) for part in ("train", "val"))
    parts = train, settings.target, val
    if method in _CLOSED:
        features, head, _ = _CLOSED[method]
        return PropertyPredictor(features, head, seed=seed).fit(*parts)  # type: ignore[arg-type]
    variant = settings.variants[method]
    base = {} if variant.preset is None else preset(variant.preset).settings
    spec = there.zoo(source).specs[0]
    encoder = create_encoder(variant.encoder, spec, seed, **{**base, **variant.settings})
    length = {"passes": settings.passes, "batch": settings.batch, "lr": settings.lr}
    how = FitConfig.build({**length, "seed": seed, "device": str(pick_device("auto"))})
    tuning = Finetuning(head=HeadConfig(hidden=settings.head), fit=how)
    return PropertyPredictor(encoder, seed=seed, finetune=tuning).fit(*parts, out=folder)
