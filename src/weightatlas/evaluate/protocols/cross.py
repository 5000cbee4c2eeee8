"""What benches across zoos share: methods trained on one zoo, their predictions for others, the records."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor

from weightatlas.atomic import replacing
from weightatlas.errors import ConfigError, DataError, SpecError
from weightatlas.evaluate.protocols.cross_fit import CLOSED, Crossed, best_of
from weightatlas.evaluate.protocols.cross_scores import Pair, Route, intervals, summarized
from weightatlas.evaluate.protocols.cross_zoos import Crossing, Place, ZoosConfig, recipe_of
from weightatlas.evaluate.protocols.refusals import or_refusal
from weightatlas.evaluate.protocols.registry import Unit
from weightatlas.evaluate.protocols.scores import ceiling_records
from weightatlas.predict.outoffold import Calibration
from weightatlas.predict.property import PropertyPredictor
from weightatlas.results import Kind, Record
from weightatlas.runtime import key_of

ORACLE = "oracle, noisy labels"
COLUMNS = (
    *("tau", "tau low", "tau high", "tau over SNE", "tau over SNE low", "tau over SNE high"),
    *("tau above chance", "R2", "MAE", "coverage in distribution", "coverage across"),
)


class CrossConfig(ZoosConfig):
    """Settings of the benches across zoos.

    Args:
        target: Property.
        methods: Names of variants, "layer statistics + boosting", ...; empty takes all.
        variants: Name -> encoder and settings.
        together: Name of a method -> methods whose predictions it averages.
        head: Widths of the head's hidden layers.
        passes: Passes over the training networks, the same for every encoder and rate.
        batch: Networks per step.
        rates: Peak learning rates; every encoder is trained with each, and validation networks choose.
        level: Wanted coverage.
        draws: Bootstrap draws.
        rival: Method whose tau all are compared with, if it takes part.
    """

    target: str = "test_acc"
    methods: tuple[str, ...] = ()
    variants: dict[str, Crossed] = {}
    together: dict[str, tuple[str, ...]] = {}
    head: tuple[int, ...] = (128,)
    passes: int = Field(ge=1)
    batch: int = Field(default=32, ge=1)
    rates: tuple[float, ...] = Field(default=(1e-3,), min_length=1)
    level: float = Field(default=0.9, gt=0, lt=1)
    draws: int = Field(default=200, ge=2)
    rival: str = "SNE"

    def chosen(self) -> tuple[str, ...]:
        """Names of the methods, in order.

        Raises:
            ConfigError: One is unknown.
        """
        known = (*CLOSED, *self.variants, *self.together, ORACLE)
        for name in self.methods:
            if name not in known:
                raise ConfigError(f"There is no method '{name}' here.", todo=f"Known: {', '.join(known)}.")
        return self.methods or known


def units(
    routes: Mapping[Place, Sequence[Place]], settings: CrossConfig, seeds: Sequence[int], bench: str
) -> list[Unit]:
    """A unit per method and seed; methods without chance run once.

    Args:
        routes: Source -> targets.
        settings: Of the bench.
        seeds: Of initialization and training.
        bench: Name of the bench.
    """
    found = []
    for name in settings.chosen():
        once = name == ORACLE or (name in CLOSED and CLOSED[name][1] != "committee")
        for seed in seeds[:1] if once else seeds:
            work = partial(measured, method=name, seed=seed, routes=routes, bench=bench)
            found.append(Unit(name, seed, work))
    return found


def measured(
    there: Crossing,
    method: str,
    seed: int,
    routes: Mapping[Place, Sequence[Place]],
    bench: str,
    rivals: Mapping[Place, Place] | None = None,
) -> list[Record]:
    """Train a method on every source zoo and score it on the test networks of its targets.

    Args:
        there: The zoos.
        method: Its name.
        seed: Of initialization and training.
        routes: Source -> targets, the source itself among them if wanted.
        bench: Name of the bench.
        rivals: Source -> zoo on which the rival is trained; the same by default.

    Returns:
        One record that says why if the method refuses networks.
    """
    settings = there.settings
    kind: Kind = "baseline" if method == ORACLE else CLOSED[method][2] if method in CLOSED else "ours"
    about = {"bench": bench, "tier": there.tier, "zoo": settings.label, "method": method, "kind": kind}
    about["seeds"] = (seed,)

    def work() -> list[Record]:
        if method == ORACLE:
            numbers = summarized(ceilings(there, routes))
            count = sum(len(there.truth(target)) for targets in routes.values() for target in targets)
        else:
            pairs, chosen = pairs_of(there, method, seed, routes, rivals or {})
            scores = {route: pair.numbers(settings.target, settings.draws) for route, pair in pairs.items()}
            numbers = summarized(scores) | intervals(pairs, settings.rival, settings.draws) | chosen
            count = sum(len(pair.true) for pair in pairs.values())
        fields = {**about, "n": count}
        return [Record.build({**fields, "metric": name, "value": v}) for name, v in numbers.items()]

    return or_refusal(work, about)


def pairs_of(
    there: Crossing,
    method: str,
    seed: int,
    routes: Mapping[Place, Sequence[Place]],
    rivals: Mapping[Place, Place],
) -> tuple[dict[Route, Pair], dict[str, float]]:
    """Gather a method's predictions for all pairs, the rival's beside them, and the learning rates it chose.

    Raises:
        SpecError: The method refuses networks.
    """
    settings, pairs, rates = there.settings, {}, {}
    compared = settings.rival in settings.chosen() and (method != settings.rival or bool(rivals))
    for source, targets in routes.items():
        for place in (source, *targets):
            there.zoo(place)  # what is wrong with the data is no refusal of the method
        found = predictions(there, method, source, targets, seed)
        other = None
        with suppress(SpecError):
            trained_on = rivals.get(source, source)
            other = predictions(there, settings.rival, trained_on, targets, seed) if compared else None
        true = torch.cat([there.truth(source, part) for part in ("train", "val")])
        known = Calibration(found["calibration"][:, None], true[:, None], torch.zeros(len(true)).int())
        if "rate" in found:
            rates[f"learning rate: {'/'.join(source)}"] = float(found["rate"])
        for target in targets:
            name, networks = "/".join(target), there.part(target, "test")
            reach = known.reach(found[name][:, None], settings.level)[:, 0]
            labels = networks.labels[settings.target].double(), networks.labels["test_acc"].double()
            rival = None if other is None else other[name]
            pairs[source, target] = Pair(found[name], *labels, there.classes(target), reach, rival)
    return pairs, rates


def ceilings(there: Crossing, routes: Mapping[Place, Sequence[Place]]) -> dict[Route, dict[str, float]]:
    """Scores of an oracle for every pair: what noisy labels leave to the best prediction."""
    target, of = there.settings.target, {}
    for place in dict.fromkeys(place for targets in routes.values() for place in targets):
        task = there.zoo(place).task()
        images = {part: len(task.labels[part]) for part in ("train", "test")}
        labels = there.zoo(place).split("test").batch(("train_acc", "test_acc")).labels
        about = {"bench": "", "tier": "", "zoo": "", "method": ""}
        records = ceiling_records(labels, (target,), images, task.classes, about)
        names = ("tau above chance", "tau", "R2")
        of[place] = {name: r.value for r in records for name in names if r.metric.startswith(f"{name} ")}
    return {
        (source, place): of[place] for source, targets in routes.items() for place in targets if of[place]
    }


def predictions(
    there: Crossing, method: str, source: Place, targets: Sequence[Place], seed: int
) -> dict[str, Tensor]:
    """Predict the test networks of a source's targets, or read what was predicted, and what calibrates.

    Returns:
        "network/task" of each target -> float64 predictions, "calibration" -> those for the train and val
        networks of the source that took no part in them, NaN for others, and "rate" -> the chosen learning
        rate if there was a choice.

    Raises:
        SpecError: The method refuses networks; of several that are averaged, all do.
    """
    settings = there.settings
    if method in settings.together:
        return _averaged(there, settings.together[method], source, targets, seed)
    folder = folder_of(there, method, source, seed)
    path = folder / "predictions.safetensors"
    known = load_file(path) if path.exists() else {}
    wanted = {"/".join(target): target for target in targets}
    missing = {name: place for name, place in wanted.items() if name not in known}
    if missing or "calibration" not in known:
        try:
            predictor, rate = fitted(there, method, source, seed)
            known |= {name: predictor.predict(there.part(place, "test")) for name, place in missing.items()}
            known["calibration"] = _calibrating(predictor)
        except (SpecError, DataError) as error:
            raise SpecError(error.what, where=error.where, todo=error.todo) from None
        known |= {} if rate is None else {"rate": torch.tensor(rate, dtype=torch.float64)}
        with replacing(path) as temporary:
            save_file({name: value.contiguous() for name, value in known.items()}, temporary)
    return {name: known[name] for name in ("calibration", *wanted, *(["rate"] if "rate" in known else []))}


def _averaged(
    there: Crossing, methods: Sequence[str], source: Place, targets: Sequence[Place], seed: int
) -> dict[str, Tensor]:
    """Average the predictions of those methods that accept the networks."""
    kept, refused = [], SpecError("There is no method to average.")
    for name in methods:
        try:
            kept.append(predictions(there, name, source, targets, seed))
        except SpecError as error:
            refused = error
    if not kept:
        raise refused
    names = ("calibration", *("/".join(target) for target in targets))
    return {name: torch.stack([part[name] for part in kept]).mean(0) for name in names}


def fitted(there: Crossing, method: str, source: Place, seed: int) -> tuple[PropertyPredictor, float | None]:
    """Fit a method on the training networks of one zoo; encoders with every rate, the best is returned.

    Interrupted trainings continue, finished ones are read.

    Returns:
        The predictor, and the learning rate that validation networks chose, if there was a choice.
    """
    settings = there.settings
    train, val = (there.zoo(source).split(part) for part in ("train", "val"))
    if method in CLOSED:
        features, head, _ = CLOSED[method]
        found = PropertyPredictor(features, head, seed=seed)  # type: ignore[arg-type]
        return found.fit(train, settings.target, val), None
    variant = settings.variants[method]
    folders = {rate: folder_of(there, method, source, seed, rate) for rate in settings.rates}
    return best_of(variant, settings, there.zoo(source).specs, train, val, seed, folders)


def folder_of(there: Crossing, method: str, source: Place, seed: int, rate: float | None = None) -> Path:
    """Folder of the predictions of a method trained on one zoo, or of one of its trainings."""
    settings = there.settings
    own = settings.variants[method].identity if method in settings.variants else method
    shared = {name: getattr(settings, name) for name in ("target", "head", "passes", "batch")}
    shared |= {"rates": settings.rates} if rate is None else {"lr": rate}
    put = source[0] not in settings.zoos and settings.count is None
    shared = {"recipe": settings.recipe if put else recipe_of(settings, source).name, **shared}
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
