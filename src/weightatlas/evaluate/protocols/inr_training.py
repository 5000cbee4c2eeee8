"""Training of the encoders that read signals from weights: the same passes and schedule for all."""

from collections.abc import Mapping
from typing import Any

from weightatlas.config import Config
from weightatlas.encoders.base import Encoder
from weightatlas.encoders.heads import HeadConfig
from weightatlas.encoders.io import create_encoder
from weightatlas.evaluate.protocols.inr_methods import METHODS, SNE_HEAD, TINY
from weightatlas.evaluate.protocols.inr_stage import SignalStage
from weightatlas.fit.presets import preset
from weightatlas.objectives.invariance import invariance_distance
from weightatlas.predict.finetune import Finetuned, Finetuning, finetune
from weightatlas.runtime import generator_of, key_of
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.weights.batch import Batch, Weights


class TrainingConfig(Config):
    """What all trainings of a bench share.

    Args:
        passes: Passes over the training networks.
        batch: Networks per step.
        small: Tiny encoders and heads, to try the bench out; their numbers mean nothing.
    """

    passes: int
    batch: int
    small: bool = False


def training_of(
    there: SignalStage, name: str, seed: int, settings: TrainingConfig
) -> tuple[Encoder, Finetuning]:
    """Make one of `METHODS` and the settings of its training; the learning rate is its preset's."""
    entry = METHODS[name]
    chosen = None if entry.preset is None else preset(entry.preset)
    sizes = {} if chosen is None else dict(chosen.settings)
    if settings.small:
        sizes |= TINY.get(entry.encoder, {})
    encoder = create_encoder(entry.encoder, there.spec, seed, **sizes)
    rates = {} if chosen is None else chosen.fit.model_dump(include={"lr", "weight_decay", "clip"})
    head = SNE_HEAD if settings.small else entry.head
    return encoder, tuning_of(there, settings, seed, entry.invariance, rates, head)


def tuning_of(
    there: SignalStage,
    settings: TrainingConfig,
    seed: int,
    invariance: float,
    rates: Mapping[str, Any],
    head: HeadConfig = SNE_HEAD,
) -> Finetuning:
    """Settings of a training to read the property; `rates` hold learning rate and such if they differ."""
    training = {
        "weight_decay": 0.0,
        "passes": settings.passes,
        "batch": settings.batch,
        "seed": seed,
        "schedule": "cosine",
        "warmup": 0.05,
        "device": str(there.device),
        **rates,
    }
    select = "val/accuracy" if there.kind == "class" else "val/property"
    tuning = Finetuning(head=head, invariance=invariance)
    return tuning.replace(kinds={there.target: there.kind}, select=select, fit=training)


def trained(there: SignalStage, name: str, encoder: Encoder, tuning: Finetuning, seed: int) -> Finetuned:
    """Train an encoder, continue its training, or read what was trained.

    Args:
        there: Networks.
        name: Of the method, for the folder of the run.
        encoder: Where training starts.
        tuning: Settings of the training.
        seed: Of the training.
    """
    count = len(there.parts["train"])
    mark = f"{key_of(tuning.model_dump_json(), encoder.config, count) & 0xFFFF_FFFF:08x}"
    folder = there.cache / "runs" / f"{there.name}-{there.tier}-{name.replace(' ', '_')}-seed{seed}-{mark}"
    return finetune(encoder, there.parts["train"], [there.target], tuning, there.parts["val"], folder, seed)


def parameters_of(found: Finetuned) -> int:
    """Count the numbers of an encoder and its head."""
    parts = [part for part in (found.encoder, found.loss.head) if part is not None]
    return sum(p.numel() for part in parts for p in part.parameters())


def logit_invariance(found: Finetuned, networks: Batch, seed: int, copies: int = 5) -> float:
    """Half the mean squared distance of predictions for a network and its permuted copies."""
    group = networks.groups[0]
    plain, generator = found.predict(networks), generator_of("LI", seed)
    total = 0.0
    for _ in range(copies):
        moved = permute(group.values, sample(group.spec, len(group), generator), group.spec)
        other = found.predict(Batch((Weights(moved, group.spec, group.rows),)))
        total += float(invariance_distance(plain, other).mean())
    return total / copies
