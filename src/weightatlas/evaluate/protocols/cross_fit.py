"""Encoders trained on one zoo with several learning rates; networks of its validation part choose."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from weightatlas.encoders.heads import HeadConfig
from weightatlas.encoders.io import create_encoder
from weightatlas.evaluate.protocols.same_zoo import HALVES, Variant
from weightatlas.fit.config import FitConfig
from weightatlas.fit.loop import fit
from weightatlas.fit.presets import preset
from weightatlas.predict.finetune import Finetuned, Finetuning
from weightatlas.predict.property import PropertyPredictor
from weightatlas.results import Kind
from weightatlas.runtime import pick_device
from weightatlas.weights.spec import NetworkSpec
from weightatlas.zoo.zoo import Zoo

CLOSED: dict[str, tuple[str, str, Kind]] = {
    "layer statistics + boosting": ("layer_statistics", "boosting", "baseline"),
    "pooled statistics + ridge": ("pooled_statistics", "ridge", "baseline"),
    "pooled statistics + committee": ("pooled_statistics", "committee", "ours"),
}
"""Name -> features, head, kind: what is fitted in closed form or by trees, with settings that are fixed."""


class Crossed(Variant):
    """One way to use an encoder across zoos.

    Args:
        rebuilds: Train it without labels, by its preset's loss; a ridge then reads its codes. Others are
            trained with their head on the property.
    """

    rebuilds: bool = False

    @property
    def identity(self) -> str:
        """What tells trainings of this encoder from others."""
        return self.model_dump_json(exclude=None if self.rebuilds else {"rebuilds"}) + HALVES


class Budget(Protocol):
    """What all encoders share."""

    target: str
    head: tuple[int, ...]
    passes: int
    batch: int
    rates: tuple[float, ...]


def best_of(
    variant: Crossed,
    budget: Budget,
    specs: Sequence[NetworkSpec],
    train: Zoo,
    val: Zoo,
    seed: int,
    folders: Mapping[float, Path],
) -> tuple[PropertyPredictor, float]:
    """Train an encoder with every learning rate and return the one that orders validation networks best.

    The choice is made on the networks that also choose the state of each training, so that intervals are
    still measured on networks that chose nothing.

    Args:
        variant: Encoder.
        budget: What all encoders share.
        specs: Layouts of the networks.
        train: Networks to train on.
        val: Networks that choose.
        seed: Of initialization and training.
        folders: Learning rate -> folder of its training.

    Raises:
        SpecError: The encoder does not accept the networks.
    """
    found = {}
    for rate, folder in folders.items():
        train_with = rebuilt if variant.rebuilds else tuned
        found[rate] = train_with(variant, budget, specs, train, val, seed, rate, folder)
    rate = max(found, key=lambda each: found[each][1])
    return found[rate][0], rate


def tuned(
    variant: Crossed,
    budget: Budget,
    specs: Sequence[NetworkSpec],
    train: Zoo,
    val: Zoo,
    seed: int,
    rate: float,
    folder: Path,
) -> tuple[PropertyPredictor, float]:
    """Train an encoder with its head on the property.

    Returns:
        The predictor, and the best tau on the networks that choose.
    """
    length = {"passes": budget.passes, "batch": budget.batch, "lr": rate}
    how = FitConfig.build({**length, "seed": seed, "device": str(pick_device("auto"))})
    tuning = Finetuning(head=HeadConfig(hidden=budget.head), fit=how)
    encoder = create_encoder(variant.encoder, specs[0], seed, **settings_of(variant))
    predictor = PropertyPredictor(encoder, seed=seed, finetune=tuning)
    predictor.fit(train, budget.target, val, out=folder)
    assert isinstance(predictor.fitted_, Finetuned)
    return predictor, max(row.get("val/kendall", -1.0) for row in predictor.fitted_.history)


def rebuilt(
    variant: Crossed,
    budget: Budget,
    specs: Sequence[NetworkSpec],
    train: Zoo,
    val: Zoo,
    seed: int,
    rate: float,
    folder: Path,
) -> tuple[PropertyPredictor, float]:
    """Train an autoencoder without labels, then fit a ridge on its codes (Schürholt et al., 2021).

    Returns:
        The predictor, and its tau on the networks that choose the regularization.
    """
    length = {"passes": budget.passes, "batch": budget.batch, "lr": rate}
    own = FitConfig(passes=1) if variant.preset is None else preset(variant.preset).fit
    how = own.replace(**length, steps=None, minutes=None, seed=seed, device=str(pick_device("auto")))
    encoder = create_encoder(variant.encoder, specs[0], seed, **settings_of(variant))
    trained = fit(encoder, train.batch(), how, folder, validation=val.batch()).encoder
    predictor = PropertyPredictor(trained, "ridge", seed=seed).fit(train, budget.target, val)
    return predictor, predictor.score(val, "kendall")


def settings_of(variant: Variant) -> dict[str, Any]:
    """Settings of the encoder: those of its preset, and what differs."""
    base = {} if variant.preset is None else preset(variant.preset).settings
    return {**base, **variant.settings}
