"""What does this network show? Classes of the images that networks represent, read from their weights."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.inr_methods import METHODS
from weightatlas.evaluate.protocols.inr_stage import SignalStage, signal_stage
from weightatlas.evaluate.protocols.inr_training import TrainingConfig, parameters_of, trained, training_of
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, listed, run_on, settings_of
from weightatlas.evaluate.protocols.stage import cache_of
from weightatlas.predict.bootstrap import bootstrap
from weightatlas.predict.features import features_of
from weightatlas.predict.metrics import accuracy
from weightatlas.results import Kind, Record
from weightatlas.zoo.fields import field_recipe, populate_fields, signals_of

BENCH = "inr_classify"
DRAWS = 500
BOOSTING = "layer statistics + boosting"
FOREST = "deep statistics + forest"


class ClassifyConfig(TrainingConfig):
    """Settings of `bench inr_classify`.

    Args:
        recipes: Networks, from `presets/fields`: recipes of images.
        count: Networks of each; the recipe's number by default.
        passes: Passes over the training networks, the same for every encoder.
        batch: Networks per step.
        rounds: Rounds of boosting at most, and half of the trees of the forest.
        methods: Names of `METHODS`, and "deep statistics + forest" (ours); all by default.
    """

    recipes: tuple[str, ...]
    count: int | None = Field(default=None, ge=20)
    passes: int = Field(ge=1)
    batch: int = Field(default=64, ge=1)
    rounds: int = Field(default=250, ge=1)
    methods: tuple[str, ...] = (FOREST, *METHODS)


cards[BENCH] = Card(
    "class of the image a small network represents: SNE and other encoders beside trivial baselines",
    "digit_images (smoke), mnist_inrs and fashion_mnist_inrs (need $WEIGHTATLAS_DATA)",
    {"smoke": 0.5, "laptop": None, "paper": None},
    ("accuracy", "accuracy low", "accuracy high", "parameters"),
    settings=ClassifyConfig,
    lists=("methods", "recipes"),
)


@benches.register(BENCH)
def inr_classify(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Train encoders to name the class of the image that a SIREN represents (Navon et al., 2023).

    Encoder and head are trained together by cross-entropy; the state with the best accuracy on validation
    networks is judged. Images are split: none has networks on both sides. Beside them stand the most frequent
    class and trees on statistics of the weights. "accuracy low" and "accuracy high" bound the 95 %
    interval over test networks.

    Args:
        tier: "smoke" (8x8 digits), "laptop" or "paper" (all images, for a GPU).
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and runs; beside `out` by default.
        changes: Settings that differ from `presets/benches/inr_classify.yaml`.

    Raises:
        ConfigError: A method, a recipe or a setting is unknown, or a recipe holds no images.
        DataError: The images are missing.
    """
    settings = settings_of(BENCH, tier, ClassifyConfig, listed(changes, "methods", "recipes"))
    unknown = [name for name in settings.methods if name not in (FOREST, *METHODS)]
    if unknown:
        known = ", ".join((FOREST, *METHODS))
        raise ConfigError(f"There is no method '{unknown[0]}'.", todo=f"Known: {known}.")
    units = [Unit("majority", 0, majority), Unit(BOOSTING, 0, partial(boosting_records, settings=settings))]
    for seed in seeds:
        for name in settings.methods:
            work = forest_records if name == FOREST else partial(encoder_records, name=name)
            units.append(Unit(name, seed, partial(work, seed=seed, settings=settings)))
    place, found = cache or cache_of(out), []
    for recipe in settings.recipes:
        opened = partial(image_stage, recipe, tier, place, settings.count)
        found += run_on(BENCH, tier, out, name_of(recipe, settings.count), units, opened)
    return found


def name_of(recipe: str, count: int | None) -> str:
    """Name of a zoo in records."""
    return recipe if count is None else f"{recipe}-{count}"


def image_stage(recipe: str, tier: str, cache: Path, count: int | None) -> SignalStage:
    """Fit the networks of a recipe, or reopen their zoo.

    Raises:
        ConfigError: The recipe holds shapes.
    """
    chosen = field_recipe(recipe, tier, **({} if count is None else {"count": count}))
    name = name_of(recipe, count)
    if signals_of(chosen).coordinates != 2:
        raise ConfigError(f"The networks of '{recipe}' represent no images.", todo="Take mnist_inrs.")
    zoo = populate_fields(chosen, cache / "zoos" / f"{name}-{tier}")
    return signal_stage(zoo, name, tier, cache, "label", "class")


def majority(there: SignalStage) -> list[Record]:
    """Name the most frequent class of the training networks for everyone."""
    common = there.truth("train").mode().values
    return judged(there, "majority", "baseline", common.expand(len(there.parts["test"])), 0)


def boosting_records(there: SignalStage, settings: ClassifyConfig) -> list[Record]:
    """Classify by boosted trees on layer statistics; validation networks choose how many."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    x, y = described(there, "layer_statistics")
    how: dict[str, Any] = {"max_iter": settings.rounds, "max_leaf_nodes": 15, "early_stopping": False}
    leaves = max(1, min(20, len(y["train"]) // 20))
    trees = HistGradientBoostingClassifier(**how, min_samples_leaf=leaves, random_state=0)
    trees.fit(x["train"], y["train"])
    hits = [float((guess == y["val"]).mean()) for guess in trees.staged_predict(x["val"])]
    guesses = list(trees.staged_predict(x["test"]))
    return judged(there, BOOSTING, "baseline", torch.from_numpy(guesses[int(np.argmax(hits))]), 0)


def forest_records(there: SignalStage, seed: int, settings: ClassifyConfig) -> list[Record]:
    """Classify by extremely randomized trees on deep statistics; nothing is chosen."""
    from sklearn.ensemble import ExtraTreesClassifier

    x, y = described(there, "deep_statistics")
    how: dict[str, Any] = {"n_estimators": settings.rounds * 2, "max_features": 0.3, "min_samples_leaf": 2}
    trees = ExtraTreesClassifier(**how, random_state=seed)
    guess = trees.fit(x["train"], y["train"]).predict(x["test"])
    return judged(there, FOREST, "ours", torch.from_numpy(guess), seed)


def described(there: SignalStage, features: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Statistics and classes of all parts."""
    x = {part: features_of(features, batch).double().cpu().numpy() for part, batch in there.parts.items()}
    return x, {part: there.truth(part).numpy() for part in there.parts}


def encoder_records(there: SignalStage, name: str, seed: int, settings: ClassifyConfig) -> list[Record]:
    """Train one encoder with one seed and judge it; an interrupted training continues."""
    found = trained(there, name, *training_of(there, name, seed, settings), seed)
    predicted = found.predict(there.parts["test"])[:, 0]
    more = {"parameters": float(parameters_of(found))}
    return judged(there, name, "ours", predicted, seed, more)


def judged(
    there: SignalStage,
    method: str,
    kind: Kind,
    predicted: Float[Tensor, " networks"],
    seed: int,
    more: dict[str, float] | None = None,
) -> list[Record]:
    """Compare answers for the test networks with their classes; the spread is over networks."""
    true = there.truth("test")
    found = bootstrap(accuracy, predicted.double().cpu(), true, draws=DRAWS)
    numbers = {"accuracy": found.value, "accuracy low": found.low, "accuracy high": found.high}
    about = {"bench": BENCH, "tier": there.tier, "zoo": there.name, "method": method, "kind": kind}
    about |= {"n": len(true), "seeds": (seed,), "split": "signal"}
    spread = {"accuracy": found.spread}
    return [
        Record.build({**about, "metric": name, "value": value, "spread": spread.get(name)})
        for name, value in {**numbers, **(more or {})}.items()
    ]
