"""Spectra of weight matrices: norms, ranks and the power law of their tail, many networks at once."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

LARGEST = 2048  # shorter side above which only the largest singular value is estimated
_CHUNK = 1 << 21  # numbers of one chunk of matrices
_TAIL = 8  # eigenvalues a power law is fitted to, at least
_STARTS = 64  # lower ends of the tail that are tried
_POWER_STEPS = 30


@dataclass(frozen=True)
class Spectrum:
    """Singular values of one weight matrix in every network, summed up.

    Args:
        tensor: Its name.
        rows: Output units.
        columns: Inputs times kernel positions.
        norm: Largest singular value, shape `(networks,)`.
        stable_rank: Squared Frobenius norm over squared largest singular value, shape `(networks,)`.
        effective_rank: exp of the entropy of the normalized singular values (Roy and Vetterli, 2007),
            shape `(networks,)`; NaN if the matrix is too large.
        alpha: Exponent of the power law of the tail of the squared singular values, shape `(networks,)`;
            NaN if the matrix is too large or too small.
        flatness: Smallest over largest singular value, shape `(networks,)`; NaN if too large.
    """

    tensor: str
    rows: int
    columns: int
    norm: Float[Tensor, " networks"]
    stable_rank: Float[Tensor, " networks"]
    effective_rank: Float[Tensor, " networks"]
    alpha: Float[Tensor, " networks"]
    flatness: Float[Tensor, " networks"]


def spectrum_of(name: str, matrices: Float[Tensor, "networks rows columns"]) -> Spectrum:
    """Sum up the singular values of one weight matrix of many networks.

    From the eigenvalues of the smaller Gram matrix in float64, a batch at a time. Matrices with values
    that are not finite give NaN. Matrices whose shorter side exceeds 2,048 get only `norm` (power
    iteration) and `stable_rank`.

    Example:
        >>> found = spectrum_of("w", torch.diag(torch.tensor([3.0, 1.0]))[None])
        >>> found.norm.tolist(), round(found.stable_rank.item(), 3)
        ([3.0], 1.111)

    Args:
        name: Name of the tensor.
        matrices: The matrices; convolutions as output channels x everything else.
    """
    _, rows, columns = matrices.shape
    small = min(rows, columns)
    step = max(1, _CHUNK // max(rows * columns, 1))
    parts = [_large(m) if small > LARGEST else _small(m) for m in matrices.split(step)]
    parts = parts or [torch.zeros(0, 5, dtype=torch.float64)]
    norm, stable, effective, alpha, flat = torch.cat(parts).unbind(1)
    return Spectrum(name, rows, columns, norm, stable, effective, alpha, flat)


def power_law(values: Float[Tensor, "networks values"], tail: int = _TAIL) -> Float[Tensor, " networks"]:
    """Fit the exponent of a power law to the tail of positive numbers, one fit a row.

    Maximum likelihood, alpha = 1 + n / sum(ln(x / x_min)), for every lower end x_min that leaves at
    least `tail` numbers; the one with the smallest Kolmogorov-Smirnov distance is taken (Clauset, Shalizi
    and Newman, 2009, equations 3.1 and 3.9). At most 64 lower ends are tried, evenly spaced by rank.

    Args:
        values: Numbers; zeros and those below 1e-12 of the largest are left out.
        tail: How many numbers the tail holds at least.

    Returns:
        Exponents, shape `(networks,)`; NaN where there are too few numbers.
    """
    count, size = values.shape
    if size < tail + 2:
        return torch.full((count,), math.nan, dtype=torch.float64)
    ordered = values.double().sort(dim=1).values
    floor = ordered[:, -1:] * 1e-12
    logs = ordered.clamp_min(1e-300).log()
    sums = logs.flip(1).cumsum(1).flip(1)
    starts = torch.linspace(0, size - tail, min(_STARTS, size - tail + 1)).long().unique()
    held = (size - starts).double()
    spread = (sums[:, starts] - held * logs[:, starts]).clamp_min(1e-300)
    alpha = 1 + held / spread
    above = logs[:, None, :] - logs[:, starts, None]
    expected = -torch.expm1((1 - alpha)[:, :, None] * above)
    place = (torch.arange(size)[None, :] - starts[:, None]).double()
    inside = place >= 0
    steps = torch.maximum(
        (expected - place / held[:, None]).abs(), (expected - (place + 1) / held[:, None]).abs()
    )
    distance = steps.masked_fill(~inside, 0).amax(2)
    distance = distance.masked_fill(ordered[:, starts] <= floor, math.inf)
    best = distance.argmin(1, keepdim=True)
    fitted = alpha.gather(1, best)[:, 0]
    return fitted.masked_fill(torch.isinf(distance.gather(1, best)[:, 0]) | (ordered[:, -1] <= 0), math.nan)


def _small(matrices: Tensor) -> Tensor:
    """Statistics of matrices by all their singular values."""
    values = matrices.double()
    bad = ~torch.isfinite(values).flatten(1).all(1)
    values = values.masked_fill(bad[:, None, None], 0)
    flat = values if values.shape[1] <= values.shape[2] else values.mT
    squares = torch.linalg.eigvalsh(flat @ flat.mT).clamp_min(0)
    top = squares[:, -1].clamp_min(1e-300)
    sigma = squares.sqrt()
    share = sigma / sigma.sum(1, keepdim=True).clamp_min(1e-300)
    entropy = -torch.special.xlogy(share, share).sum(1)
    table = [sigma[:, -1], squares.sum(1) / top, entropy.exp(), power_law(squares), sigma[:, 0] / top.sqrt()]
    zero = squares[:, -1] <= 0
    table[1:3] = [column.masked_fill(zero, 0) for column in table[1:3]]
    return torch.stack(table, 1).masked_fill(bad[:, None], math.nan)


def _large(matrices: Tensor) -> Tensor:
    """Largest singular value by power iteration, and what follows from it and the Frobenius norm."""
    values = matrices.float()
    bad = ~torch.isfinite(values).flatten(1).all(1)
    values = values.masked_fill(bad[:, None, None], 0)
    vector = torch.ones(values.shape[0], values.shape[2], 1)
    for _ in range(_POWER_STEPS):
        vector = values.mT @ (values @ vector)
        vector = vector / vector.norm(dim=1, keepdim=True).clamp_min(1e-30)
    norm = (values @ vector).flatten(1).norm(dim=1).double()
    squares = values.flatten(1).norm(dim=1).double().square()
    unknown = torch.full_like(norm, math.nan)
    table = torch.stack([norm, squares / norm.square().clamp_min(1e-300), unknown, unknown, unknown], 1)
    return table.masked_fill(bad[:, None], math.nan)
