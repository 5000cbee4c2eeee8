"""Intervals for rates of rare events."""

import numpy as np
from jaxtyping import Bool, Int


def clopper_pearson(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a rate (Clopper & Pearson, 1934).

    Example:
        >>> [round(limit, 4) for limit in clopper_pearson(0, 1000)]
        [0.0, 0.0037]

    Args:
        hits: Events.
        count: Independent trials.
        level: Confidence.
    """
    from scipy.stats import beta

    out = (1 - level) / 2
    low = float(beta.ppf(out, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - out, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def clustered_upper(
    events: Bool[np.ndarray, " pairs"], pairs: Int[np.ndarray, "pairs 2"], level: float = 0.95, seed: int = 0
) -> float:
    """Bound the rate of events over pairs from above, pairs of one network not being independent.

    With events: the upper limit of a bootstrap over networks. Without: Clopper-Pearson over as many pairs as
    have no network in common.

    Args:
        events: Whether each pair shows the event.
        pairs: The two networks of each pair.
        level: Confidence, two-sided.
        seed: Of the bootstrap.
    """
    names, index = np.unique(pairs, return_inverse=True)
    index = index.reshape(pairs.shape)
    if not events.any():
        return clopper_pearson(0, max(len(names) // 2, 1), level)[1]
    rng = np.random.default_rng(seed)
    rates = []
    for _ in range(1000):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        weights = times[index[:, 0]] * times[index[:, 1]]
        rates.append((weights * events).sum() / max(weights.sum(), 1))
    return float(np.quantile(rates, 1 - (1 - level) / 2))
