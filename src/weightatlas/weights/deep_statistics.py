"""Deep layer statistics: moments and quantiles, spectra, neurons, and how a signal passes; closed form."""

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.weights.signal import Signal, propagate
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.statistics import row_quantiles

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_LEADING = 4  # singular values whose shares are told
_TINY = 1e-12
PER_TENSOR = 4 + len(_QUANTILES)
PER_MATRIX = 4 + _LEADING + 8
PER_LAYER = 17


def deep_statistics(
    values: Float[Tensor, "networks params"], spec: NetworkSpec, pooled: bool = False
) -> Float[Tensor, "networks features"]:
    """Describe networks by what permutations of neurons leave as it is, more of it than layer statistics.

    Per tensor its moments and quantiles; per weight its spectrum and how unequal its rows and columns are;
    per layer what reaches it if Gaussian noise enters the network (`signal.propagate`): size, bias against
    variation, share of active neurons, and how many directions survive. Nothing is run, nothing is learned.

    Args:
        values: Networks as rows.
        spec: Their layout.
        pooled: Describe any architecture by equally many numbers: first, last, mean, least and
            largest over tensors and layers, in place of one after the other.

    Returns:
        Float64 features, sizes on a logarithmic scale.
    """
    wide = values.detach().double().nan_to_num(0.0).clamp(-1e6, 1e6)
    vectors, matrices = [], []
    for tensor in spec.tensors:
        if not tensor.size:
            continue
        block = wide[:, spec.slices[tensor.name]]
        if tensor.role == "weight" and len(tensor.shape) > 1:
            # By fan-in, so that wide and narrow layers lie on one scale.
            block = block * (tensor.size / tensor.shape[0]) ** 0.5
            matrices.append(_of_matrix(block.view(len(wide), tensor.shape[0], -1), tensor.shape[1]))
            matrices[-1] = torch.cat([_of_numbers(block), matrices[-1]], dim=1)
        elif tensor.role in ("bias", "norm_shift") or not pooled:
            vectors.append(_of_numbers(block))
    chunks = propagate(values, spec)
    layers = [
        torch.cat([_of_layer(chunk[number], number == len(chunk) - 1) for chunk in chunks])
        for number in range(len(chunks[0]))
    ]
    kinds = [part for part in (vectors, matrices, layers) if part]
    found = [_pooled(part) for part in kinds] if pooled else [torch.cat(part, dim=1) for part in kinds]
    if pooled and not vectors:
        found.insert(0, wide.new_zeros(len(wide), 5 * PER_TENSOR))
    return torch.cat(found, dim=1).nan_to_num(0.0, 1e9, -1e9)


def _pooled(parts: list[Tensor]) -> Tensor:
    """First, last, mean, least and largest over layers."""
    every = torch.stack(parts)
    return torch.cat([parts[0], parts[-1], every.mean(0), every.amin(0), every.amax(0)], dim=1)


def _log(x: Tensor) -> Tensor:
    return (x + _TINY).log()


def _of_numbers(block: Float[Tensor, "networks numbers"]) -> Float[Tensor, "networks 11"]:
    """Mean, log spread, skewness, tails, and quantiles in units of the spread."""
    mean = block.mean(1, keepdim=True)
    centered = block - mean
    std = centered.square().mean(1, keepdim=True).sqrt()
    unit = centered / (std + _TINY)
    tails = [unit.pow(3).mean(1, keepdim=True), _log(unit.pow(4).mean(1, keepdim=True))]
    quantiles = row_quantiles(block, _QUANTILES)
    return torch.cat([mean, _log(std), *tails, torch.asinh(quantiles)], dim=1)


def _of_matrix(matrix: Float[Tensor, "networks rows columns"], channels: int) -> Tensor:
    """Spectrum of a weight, and how unequal its rows and channels are."""
    energy = torch.linalg.svdvals(matrix).square()
    total = energy.sum(1, keepdim=True)
    share = energy / (total + _TINY)
    lead = torch.nn.functional.pad(share[:, :_LEADING], (0, max(0, _LEADING - share.shape[1])))
    entropy = -(share * _log(share)).sum(1, keepdim=True)
    ends = [_log(energy[:, :1]), _log(energy[:, -1:]), _log(total), entropy]
    by_row = matrix.norm(dim=2)
    by_channel = matrix.unflatten(2, (channels, -1)).norm(dim=3).norm(dim=1)
    return torch.cat([*ends, lead, _sizes(by_row), _sizes(by_channel)], dim=1)


def _sizes(norms: Float[Tensor, "networks members"]) -> Float[Tensor, "networks 4"]:
    """Log mean, relative spread, least and largest, of norms."""
    mean = norms.mean(1, keepdim=True) + _TINY
    unit = norms / mean
    spread = (unit - 1).square().mean(1, keepdim=True).sqrt()
    return torch.cat([mean.log(), spread, unit.amin(1, keepdim=True), unit.amax(1, keepdim=True)], dim=1)


def _of_layer(signal: Signal, last: bool) -> Float[Tensor, "networks 17"]:
    """Size and variety of what a layer receives and passes on."""
    mean, covariance = signal.mean, signal.covariance
    if last:
        # A number added to all outputs changes no prediction.
        size = mean.shape[1]
        centering = torch.eye(size, dtype=mean.dtype, device=mean.device) - (1 / size if size > 1 else 0)
        mean, covariance = mean @ centering, centering @ covariance @ centering
    std = covariance.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
    energy = torch.linalg.eigvalsh(covariance).clamp(min=0).flip(1)
    total = energy.sum(1, keepdim=True)
    share = energy / (total + _TINY)
    lead = torch.nn.functional.pad(share[:, :3], (0, max(0, 3 - share.shape[1])))
    rank = -(share * _log(share)).sum(1, keepdim=True)
    lean = mean.abs() / (std + _TINY)
    rows = [
        _log(mean.square().mean(1, keepdim=True)),
        mean.mean(1, keepdim=True).asinh(),
        _log(std).mean(1, keepdim=True),
        _log(std).std(1, correction=0, keepdim=True),
        lean.asinh().mean(1, keepdim=True),
        lean.asinh().amax(1, keepdim=True),
        _log(mean.square().mean(1, keepdim=True)) - _log(total / mean.shape[1]),
        _log(total),
        rank,
        lead,
        signal.gain.mean(1, keepdim=True),
        signal.gain.amin(1, keepdim=True),
        signal.gain.std(1, correction=0, keepdim=True),
        (signal.gain.abs() < 0.05).double().mean(1, keepdim=True),
        _log(signal.spread).mean(1, keepdim=True),
    ]
    return torch.cat(rows, dim=1)
