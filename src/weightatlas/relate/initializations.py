"""Is a tensor still what an initialization made of it? Tests against independent draws of known ones."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from scipy.stats import chi2
from torch import Tensor

from weightatlas.relate.spectra import LARGEST

LEAST = 100  # numbers below which a tensor is too small to tell
MANY = 10_000  # numbers from which on even a normal distribution is telling
_MOST = 1 << 16  # numbers tested, evenly spaced
_CRITICAL = 1.628  # of sqrt(n) times the Kolmogorov-Smirnov distance, at 1 %
_SCREEN = 4.0  # standard errors of the standard deviation
_WIDOM = (-4.15, 2.42)  # 0.5 % quantiles on both sides of the Tracy-Widom law for real matrices


class Initialization(NamedTuple):
    """A distribution that first weights are drawn from.

    Args:
        name: For people.
        shape: uniform (in ±scale), normal (of that deviation), or truncated (normal, cut at two deviations).
        scale: Bound of the uniform, deviation of the others before they are cut.
    """

    name: str
    shape: Literal["uniform", "normal", "truncated"]
    scale: float

    @property
    def std(self) -> float:
        """Standard deviation of the numbers."""
        factor = {"uniform": 3**-0.5, "normal": 1.0, "truncated": 0.87962566}
        return self.scale * factor[self.shape]


class Match(NamedTuple):
    """A network whose tensor cannot be told from an initialization.

    Args:
        network: Its row.
        initialization: The one it fits best.
        distance: Kolmogorov-Smirnov distance.
        critical: Distance above which it would have been told apart, at 1 %.
        size: Numbers that were tested.
        fits: Names of all initializations that pass.
    """

    network: int
    initialization: Initialization
    distance: float
    critical: float
    size: int
    fits: tuple[str, ...] = ()

    @property
    def strong(self) -> bool:
        """Whether training would surely have shown: a bound that held, or many numbers."""
        return self.initialization.shape == "uniform" or self.size >= MANY


def candidates(shape: tuple[int, ...]) -> list[Initialization]:
    """List the usual initializations of a weight of this shape.

    Example:
        >>> candidates((10, 64))[0]
        Initialization(name='PyTorch default, uniform', shape='uniform', scale=0.125)
    """
    inputs, positions = math.prod(shape[1:]), math.prod(shape[2:])
    outputs = shape[0] * positions
    both = inputs + outputs
    return [
        Initialization("PyTorch default, uniform", "uniform", inputs**-0.5),
        Initialization("Kaiming uniform", "uniform", (6 / inputs) ** 0.5),
        Initialization("Xavier uniform", "uniform", (6 / both) ** 0.5),
        Initialization("LeCun uniform", "uniform", (3 / inputs) ** 0.5),
        Initialization("SIREN uniform", "uniform", (6 / inputs) ** 0.5 / 30),
        Initialization("Kaiming normal", "normal", (2 / inputs) ** 0.5),
        Initialization("Kaiming normal over outputs", "normal", (2 / outputs) ** 0.5),
        Initialization("Xavier normal", "normal", (2 / both) ** 0.5),
        Initialization("LeCun normal", "normal", inputs**-0.5),
        Initialization("He normal, truncated", "truncated", (2 / inputs) ** 0.5 / 0.87962566),
        Initialization("LeCun normal, truncated", "truncated", inputs**-0.5 / 0.87962566),
        Initialization("normal 0.02", "normal", 0.02),
        Initialization("normal 0.01", "normal", 0.01),
        Initialization("truncated normal 0.02", "truncated", 0.02),
        Initialization("standard normal", "normal", 1.0),
    ]


def bias_candidates(inputs: int) -> list[Initialization]:
    """List the usual initializations of a bias beside a weight with so many inputs."""
    return [Initialization("PyTorch default, uniform", "uniform", inputs**-0.5)] if inputs else []


def untrained(
    values: Float[Tensor, "networks rows columns"], known: Sequence[Initialization], least: int = LEAST
) -> list[Match]:
    """Find the networks whose matrix cannot be told from independent draws of an initialization.

    Four properties of independent draws are tested at the 1 % level each: the distribution of the
    numbers (standard deviation, bound, Kolmogorov-Smirnov distance), row sums, column sums (chi-square),
    and the largest singular value (Tracy-Widom law, centered as by Johnstone, 2001). An untrained matrix
    is missed in about one of twenty-five cases; a trained one passes only if training left no trace in
    any of the four. Small matrices of trained
    networks pass easily; see `Match.strong`.

    Args:
        values: Numbers of one tensor, a network a slice; vectors as one row.
        known: Initializations to compare with.
        least: How many numbers there must be.

    Returns:
        One match per network that has any, with the closest initialization.
    """
    count, rows, columns = values.shape
    size = min(rows * columns, _MOST)
    if rows * columns < least or not count:
        return []
    numbers = values.reshape(count, -1)
    if numbers.shape[1] > size:
        numbers = numbers[:, torch.linspace(0, numbers.shape[1] - 1, size).long()]
    numbers = numbers.double()
    std, largest = numbers.std(1, correction=0), numbers.abs().amax(1)
    best: dict[int, Match] = {}
    for initialization in known:
        found = _screened(initialization, size, std, largest)
        if not len(found):
            continue
        distances = _distance(numbers[found], initialization)
        critical = _CRITICAL / math.sqrt(size)
        close = distances < critical
        found, distances = found[close], distances[close]
        free = _independent(values[found].double(), initialization.std)
        for row, distance in zip(found[free].tolist(), distances[free].tolist(), strict=True):
            fits = (*(best[row].fits if row in best else ()), initialization.name)
            closer = row not in best or distance < best[row].distance
            new = Match(row, initialization, distance, critical, size) if closer else best[row]
            best[row] = new._replace(fits=fits)
    return [best[row] for row in sorted(best)]


def _independent(values: Float[Tensor, "networks rows columns"], std: float) -> Tensor:
    """Test row sums, column sums and the largest singular value of matrices of independent draws."""
    count, rows, columns = values.shape
    if not count or min(rows, columns) < 2:
        return torch.ones(count, dtype=torch.bool)
    passed = torch.ones(count, dtype=torch.bool)
    for dim in (1, 2):
        sums = (values.sum(dim) / (std * math.sqrt(values.shape[dim]))).square().sum(1)
        low, high = (float(chi2.ppf(share, values.shape[3 - dim])) for share in (0.005, 0.995))
        passed &= (sums > low) & (sums < high)
    if min(rows, columns) > LARGEST:
        return passed
    flat = values if rows <= columns else values.mT
    top = torch.linalg.eigvalsh(flat @ flat.mT)[:, -1] / std**2
    a, b = math.sqrt(max(rows, columns) - 1), math.sqrt(min(rows, columns))
    center, width = (a + b) ** 2, (a + b) * (1 / a + 1 / b) ** (1 / 3)
    return passed & (top > center + _WIDOM[0] * width) & (top < center + _WIDOM[1] * width)


def _screened(known: Initialization, size: int, std: Tensor, largest: Tensor) -> Tensor:
    """Networks whose spread and bound fit an initialization."""
    error = (0.447 if known.shape == "uniform" else 0.707) / math.sqrt(size)
    fits = (std / known.std - 1).abs() < _SCREEN * error
    bound = {"uniform": known.scale, "truncated": 2 * known.scale, "normal": math.inf}[known.shape]
    return (fits & (largest <= bound * (1 + 1e-3))).nonzero()[:, 0]


def _distance(values: Tensor, known: Initialization) -> Tensor:
    """Kolmogorov-Smirnov distance of each row."""
    size = values.shape[1]
    scaled = values.sort(dim=1).values / known.scale
    uniform = known.shape == "uniform"
    expected = ((scaled + 1) / 2).clamp(0, 1) if uniform else torch.special.ndtr(scaled)
    if known.shape == "truncated":
        low = torch.special.ndtr(torch.tensor(-2.0, dtype=scaled.dtype))
        expected = ((expected - low) / (1 - 2 * low)).clamp(0, 1)
    steps = torch.arange(size + 1, dtype=torch.float64) / size
    return torch.maximum((expected - steps[:-1]).abs(), (steps[1:] - expected).abs()).amax(1)
