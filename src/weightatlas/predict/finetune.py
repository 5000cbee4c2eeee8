"""Encoder and head trained together on properties: settings, training, prediction."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.base import Encoder
from weightatlas.encoders.heads import HeadConfig, PropertyHead
from weightatlas.errors import DataError
from weightatlas.fit.check import embedding_dim
from weightatlas.fit.config import FitConfig
from weightatlas.fit.loop import fit
from weightatlas.objectives.composite import Composite
from weightatlas.objectives.invariance import Invariance
from weightatlas.objectives.property import Kind, Property, Target
from weightatlas.objectives.views import ViewConfig
from weightatlas.predict.features import labels_of
from weightatlas.predict.kinds import Scale
from weightatlas.runtime import key_of
from weightatlas.weights.batch import Batch


class Finetuning(Config):
    """How an encoder and its head are trained on properties.

    Example:
        >>> Finetuning(invariance=0.1).fit.passes
        30

    Args:
        head: Layers of the head.
        kinds: Property name -> "accuracy", "real" or "class". Default: "accuracy" for names that end in
            `_acc` with values in [0, 1], else "real".
        invariance: Weight of the invariance regularizer; 0 leaves it out.
        invariance_on: Compare the head's logits or the embeddings.
        tolerance: Distances up to this cost nothing.
        augment: Permute the training networks anew in every step.
        select: Validation number that decides which state is kept; "auto" takes Kendall's tau, or the
            accuracy over classes if all properties are classes.
        fit: Length, rates, batch; its loss settings take no part.
    """

    head: HeadConfig = HeadConfig(hidden=(512,))
    kinds: dict[str, Kind] = {}
    invariance: float = Field(default=0.0, ge=0)
    invariance_on: Literal["logits", "embedding"] = "logits"
    tolerance: float = Field(default=0.0, ge=0)
    augment: bool = False
    select: Literal["auto", "val/kendall", "val/accuracy", "val/property", "none"] = "auto"
    fit: FitConfig = FitConfig(passes=30)


@dataclass(frozen=True, slots=True)
class Finetuned:
    """An encoder and a loss with its head, trained together.

    Args:
        encoder: In evaluation mode.
        loss: Holds the head and the property term.
        history: One dictionary per pass.
        finished: False if `fit.max_seconds` stopped it; the same call with a run folder continues.
    """

    encoder: Encoder
    loss: Composite
    history: list[dict[str, Any]]
    finished: bool = True

    @property
    def property(self) -> Property:
        """The supervised term."""
        return next(term for term in self.loss.objectives if isinstance(term, Property))

    @torch.no_grad()
    def predict(self, batch: Batch, chunk: int = 256) -> Float[Tensor, "networks targets"]:
        """Predict properties of networks of any accepted specs, in the caller's order, in float64."""
        assert self.loss.head is not None
        device = next(self.loss.head.parameters()).device
        embedding = self.encoder.embed(on(batch, device), chunk)
        return self.property.answer(self.loss.head(embedding)).cpu()


def finetune(
    encoder: Encoder,
    batch: Batch,
    names: Sequence[str],
    config: Finetuning,
    validation: Batch | None = None,
    out: Path | None = None,
    seed: int = 0,
) -> Finetuned:
    """Train a copy of an encoder, and a head, to predict properties.

    The state with the best validation number is kept; without validation networks, the last one.

    Args:
        encoder: Where training starts; it is not changed.
        batch: Training networks with labels.
        names: Properties.
        config: Settings.
        validation: Networks with labels that choose the state.
        out: Folder of the run; the same call continues it. None keeps nothing.
        seed: Seed of the head and, with `config.fit.seed`, of the training.

    Raises:
        DataError: A property is missing or not finite.
        ConfigError: Something else cannot work.
    """
    encoder = deepcopy(encoder)
    labels = labels_of(batch, tuple(names))
    held = labels if validation is None else torch.cat([labels, labels_of(validation, tuple(names))])
    targets = targets_of(names, held, config.kinds)
    width = embedding_dim(encoder, batch)
    loss = supervised(targets, width, config, seed)
    next(term for term in loss.objectives if isinstance(term, Property)).adapt(labels)
    result = fit(
        encoder, batch, training_of(config, targets, validation), out, validation=validation, loss=loss
    )
    return Finetuned(encoder, loss, result.history, result.finished)


def supervised(targets: Sequence[Target], width: int, config: Finetuning, seed: int = 0) -> Composite:
    """Make the loss with its head: `property + invariance_weight * invariance`.

    Args:
        targets: What is predicted.
        width: Numbers per embedding of the encoder.
        config: Settings.
        seed: Seed of the head's initialization.
    """
    term = Property(targets)
    terms: dict[str, Any] = {"property": (term, 1.0)}
    if config.invariance > 0:
        terms["invariance"] = (Invariance(config.invariance_on, config.tolerance), config.invariance)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_of(seed, "head") & 0x7FFF_FFFF_FFFF_FFFF)
        head = PropertyHead(width, term.width, config.head)
    about = config.model_dump(mode="json", exclude={"fit"})
    about |= {"targets": [target.model_dump() for target in targets], "width": width, "seed": seed}
    return Composite(terms, "none", head, about)


def targets_of(
    names: Sequence[str], labels: Float[Tensor, "networks targets"], kinds: Mapping[str, Kind]
) -> tuple[Target, ...]:
    """Decide how each property is predicted.

    Args:
        names: Properties.
        labels: Their values, a column each.
        kinds: Decisions of the caller.

    Raises:
        DataError: A class is not a whole number from 0 on.
    """
    found = []
    for place, name in enumerate(names):
        column = labels[:, place]
        share = name.endswith("_acc") and bool(((column >= 0) & (column <= 1)).all())
        kind = kinds.get(name, "accuracy" if share else "real")
        if kind == "class" and not bool(((column >= 0) & (column == column.round())).all()):
            raise DataError(f"Classes are whole numbers from 0 on; '{name}' holds {float(column[0]):g}.")
        classes = max(2, int(column.max()) + 1) if kind == "class" else None
        found.append(Target(name=name, kind=kind, classes=classes))
    return tuple(found)


def tuned(tuning: Finetuning, scales: Sequence[Scale]) -> Finetuning:
    """Settings of a finetuning that learns each property in its kind; a logarithm is a real number.

    Args:
        tuning: Settings, whose own kinds come first.
        scales: Kind of each property.
    """
    kinds: dict[str, Any] = {
        s.name: "real" if s.kind == "log" else s.kind for s in scales if s.kind != "real"
    }
    return tuning.replace(kinds={**kinds, **tuning.kinds}) if kinds else tuning


def training_of(config: Finetuning, targets: Sequence[Target], validation: Batch | None) -> FitConfig:
    """Settings of the loop: views for augmentation, and what selects the state."""
    views = ViewConfig(**{**config.fit.views.model_dump(), "permute": "all" if config.augment else "second"})
    classes = all(target.kind == "class" for target in targets)
    auto = "val/accuracy" if classes else "val/kendall"
    select = {"auto": auto, "none": None}.get(config.select, config.select)
    if validation is None or config.fit.validate_every == 0:
        return config.fit.replace(views=views, select=None, patience=None)
    return config.fit.replace(views=views, select=select)


def on(batch: Batch, device: torch.device) -> Batch:
    """Bring the networks of a batch to a device."""
    from weightatlas.fit.feed import moved

    return batch if all(group.values.device == device for group in batch) else moved(batch, device)
