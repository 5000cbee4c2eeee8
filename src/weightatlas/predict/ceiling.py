"""What no prediction can beat: measured accuracies are noisy, since they count few images."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.predict.bootstrap import Score
from weightatlas.predict.metrics import kendall
from weightatlas.runtime import numpy_generator_of

Part = tuple[Float[Tensor, " networks"], int, float]


def ceiling(parts: Sequence[Part], score: Score = kendall, draws: int = 20, seed: int = 0) -> float:
    """Score of an oracle that knows true accuracies against labels measured on finitely many images.

    An accuracy measured on n images is binomial. Measured accuracies are taken for the true ones and
    measured once more, by simulation. They are spread a little wider than the true ones, so the result is
    slightly too high: a bound, not an estimate of what is reachable from weights.

    Example:
        >>> even = torch.linspace(0.1, 0.9, 50)
        >>> ceiling([(even, 100, 1.0)]) < ceiling([(even, 10_000, 1.0)]) < 1
        True

    Args:
        parts: Accuracies with their number of images and sign, whose sum is the property: one part for test
            accuracy, `(train, n, 1.0), (test, m, -1.0)` for the generalization gap.
        score: What is scored.
        draws: Simulations that are averaged.
        seed: Seed of the simulation.
    """
    generator = numpy_generator_of("ceiling", seed)
    true = torch.stack([sign * accuracy.double() for accuracy, _, sign in parts]).sum(0)
    found = []
    for _ in range(draws):
        again = [sign * _measured(accuracy, images, generator) for accuracy, images, sign in parts]
        found.append(score(true, torch.stack(again).sum(0)))
    return fmean(found)


def _measured(accuracy: Tensor, images: int, generator: np.random.Generator) -> Tensor:
    """Measure accuracies on as many new images."""
    share = accuracy.double().clamp(0, 1).cpu().numpy()
    return torch.from_numpy(generator.binomial(images, share) / images)
