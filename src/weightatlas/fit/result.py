"""What fitting gives, and fitting without training."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightatlas.atomic import write_text
from weightatlas.config import as_yaml
from weightatlas.encoders.base import Encoder, settings_of
from weightatlas.encoders.io import save_pretrained
from weightatlas.fit.feed import thinned
from weightatlas.objectives.composite import Composite, LossConfig, build_loss
from weightatlas.weights.batch import Batch


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a training run gives.

    Args:
        encoder: The trained encoder, in evaluation mode; the object that was passed in.
        loss: The loss with its divisors.
        steps: Optimizer steps done in all.
        passes: Passes over the training networks, as a fraction.
        seconds: Wall time, earlier calls of the same run included.
        finished: False if it was stopped by `max_seconds`; the same call continues it.
        history: One dictionary per pass: step, terms, rates, validation metrics.
    """

    encoder: Encoder
    loss: Composite
    steps: int
    passes: float
    seconds: float
    finished: bool
    history: list[dict[str, Any]]


def closed_form(encoder: Encoder, batch: Batch, out: Path | None) -> FitResult:
    """Fit an encoder without trainable parameters: adapting it is all there is to do."""
    started = time.monotonic()
    encoder.adapt(thinned(batch))
    if out is not None:
        write_text(out / "config.yaml", as_yaml(settings_of(encoder)))
        save_pretrained(encoder, out / "encoder")
    seconds = time.monotonic() - started
    return FitResult(encoder.eval(), build_loss(LossConfig(), 1), 0, 0.0, seconds, True, [])
