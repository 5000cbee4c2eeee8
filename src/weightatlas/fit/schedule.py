"""Learning rate and momentum as pure functions of the progress: nothing to save."""

from math import cos, pi
from typing import Literal


def factor(
    schedule: Literal["cosine", "onecycle", "multistep", "constant"], progress: float, warmup: float = 0.05
) -> tuple[float, float]:
    """Return the share of the peak learning rate and the first momentum.

    Example:
        >>> factor("constant", 0.5)
        (1.0, 0.9)

    Args:
        schedule: "cosine" (linear warmup, then to zero), "onecycle" (rise over 30 % from 1/25, fall to
            1/250000, momentum 0.95 - 0.85 - 0.95, as in SANE), "multistep" (after the warmup 1, from
            one half on 0.1, from three quarters on 0.01) or "constant" (after the warmup).
        progress: Share of the training that is done, from 0 to 1.
        warmup: Share of the training that is warmup; not used by "onecycle".
    """
    progress = min(max(progress, 0.0), 1.0)
    if schedule == "onecycle":
        return _onecycle(progress)
    if progress < warmup:
        return max(progress / warmup, 0.01), 0.9
    if schedule == "multistep":
        return 0.1 ** ((progress >= 0.5) + (progress >= 0.75)), 0.9
    if schedule == "constant":
        return 1.0, 0.9
    return _between(1.0, 0.0, (progress - warmup) / (1 - warmup)), 0.9


def _onecycle(progress: float) -> tuple[float, float]:
    if progress < 0.3:
        return _between(1 / 25, 1.0, progress / 0.3), _between(0.95, 0.85, progress / 0.3)
    fall = (progress - 0.3) / 0.7
    return _between(1.0, 1 / 250_000, fall), _between(0.85, 0.95, fall)


def _between(start: float, end: float, share: float) -> float:
    """Go from `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + cos(pi * share)) / 2
