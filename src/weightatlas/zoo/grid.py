"""Hyperparameters of a zoo: all combinations of some values, or random draws from ranges."""

import itertools
import math
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from weightatlas.config import Config


class Range(Config):
    """Numbers to draw from, for random search.

    Args:
        low: Smallest value.
        high: Largest value.
        log: Draw the logarithm uniformly.
    """

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"a range from {self.low} to {self.high} is empty or has no logarithm")
        return self

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one number."""
        if not self.log:
            return float(rng.uniform(self.low, self.high))
        return float(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))


Floats = tuple[float, ...] | Range


class Grid(Config):
    """Values of every hyperparameter; a grid takes all combinations, a random search draws from them.

    Args:
        activation: Nonlinearity; none keeps the network's own.
        init: Scheme of the first weights.
        init_seed: Fixed seeds of the first weights; none derives them from the network's key.
        optimizer: Update rule.
        lr: Learning rate.
        weight_decay: L2 decay.
        momentum: For sgd and rmsprop.
        dropout: Probability of dropping.
        batch_size: Images per step.
        train_fraction: Share of the training images each network sees.
        init_std: Spread of "normal" and "truncated_normal" first weights; left out if it is the scheme's own.
    """

    activation: tuple[str | None, ...] = Field(default=(None,), min_length=1)
    init: tuple[str, ...] = Field(default=("kaiming_uniform",), min_length=1)
    init_seed: tuple[int | None, ...] = Field(default=(None,), min_length=1)
    optimizer: tuple[str, ...] = Field(default=("adam",), min_length=1)
    lr: Floats = (1e-3,)
    weight_decay: Floats = (0.0,)
    momentum: Floats = (0.0,)
    dropout: Floats = (0.0,)
    batch_size: tuple[int, ...] = Field(default=(32,), min_length=1)
    train_fraction: Floats = (1.0,)
    init_std: tuple[float | None, ...] | Range = (None,)

    def ranges(self) -> list[str]:
        """Names of the hyperparameters that only a random search can draw."""
        return [name for name in type(self).model_fields if isinstance(getattr(self, name), Range)]

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yield all combinations, the last hyperparameter fastest."""
        names = list(type(self).model_fields)
        for values in itertools.product(*(getattr(self, name) for name in names)):
            yield self._used(dict(zip(names, values, strict=True)))

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw one combination."""
        chosen = {}
        for name in type(self).model_fields:
            options = getattr(self, name)
            drawn = options.draw(rng) if isinstance(options, Range) else options[rng.integers(len(options))]
            chosen[name] = drawn
        return self._used(chosen)

    def _used(self, hyper: dict[str, Any]) -> dict[str, Any]:
        """Leave out a spread that no network has, so that it takes no part in keys; drop one without use."""
        if self.init_std == (None,):
            return {name: value for name, value in hyper.items() if name != "init_std"}
        used = hyper["init"] in ("normal", "truncated_normal")
        return {**hyper, "init_std": hyper["init_std"] if used else None}
