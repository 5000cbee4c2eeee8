"""Layer statistics: mean, standard deviation and quantiles of every tensor, a strong simple baseline."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import SpecError
from weightatlas.weights.spec import NetworkSpec

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
_ROWS = 256  # networks of one chunk: small enough that a chunk stays in the cache


def layer_statistics(
    values: Float[Tensor, "networks params"],
    spec: NetworkSpec,
    quantiles: Sequence[float | int] = QUANTILES,
) -> Float[Tensor, "networks features"]:
    """Describe each network by the mean, standard deviation and quantiles of each tensor.

    Over real weights only, no padding (the features of Unterthiner et al., 2020). Quantiles
    interpolate linearly between order statistics.

    Example:
        >>> from weightatlas.weights.spec import NetworkSpec, Segment, TensorSpec
        >>> fixed = ((Segment(members=3),),)
        >>> spec = NetworkSpec(tensors=(TensorSpec(name="b", shape=(3,), role="bias", axes=fixed, layer=0),))
        >>> layer_statistics(torch.tensor([[3.0, 1.0, 2.0]]), spec, (0.0, 0.5, 1.0)).round(decimals=3)
        tensor([[2.0000, 0.8160, 1.0000, 2.0000, 3.0000]])

    Args:
        values: Networks as rows.
        spec: Their layout.
        quantiles: Numbers in [0, 1].

    Returns:
        Features in the order of `statistic_names`; the standard deviation divides by the count.

    Raises:
        SpecError: The weights do not fit the spec, or a quantile is outside [0, 1].
    """
    if values.shape[1] != spec.params:
        raise SpecError(f"Networks have {values.shape[1]} numbers, the spec says {spec.params}.")
    outside = [q for q in quantiles if not 0 <= q <= 1]
    if outside:
        raise SpecError(f"Quantiles {outside} are outside [0, 1].")
    if values.is_cuda:
        return _describe(values.detach(), spec, quantiles)
    chunks = values.detach().split(_ROWS)
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        parts = list(pool.map(lambda chunk: _describe(chunk, spec, quantiles), chunks))
    return torch.cat(parts)


def statistic_names(spec: NetworkSpec, quantiles: Sequence[float | int] = QUANTILES) -> list[str]:
    """Name the features of `layer_statistics`: tensor name and statistic."""
    kinds = ["mean", "std", *(f"q{round(100 * q)}" for q in quantiles)]
    return [f"{tensor.name}.{kind}" for tensor in spec.tensors for kind in kinds]


def _describe(values: Tensor, spec: NetworkSpec, quantiles: Sequence[float | int]) -> Tensor:
    """Describe a few networks; the rows of each tensor are sorted in one call."""
    features = []
    for tensor, start in zip(spec.tensors, spec.offsets, strict=True):
        block = values[:, start : start + tensor.size]
        block = block if tensor.size else block.new_zeros(len(block), 1)
        mean = block.mean(dim=1, keepdim=True)
        std = (block - mean).square().mean(dim=1, keepdim=True).sqrt()
        features += [mean, std, row_quantiles(block, quantiles)]
    return torch.cat(features, dim=1)


def _sorted(block: Tensor) -> Tensor:
    """Sort each row; on the CPU numpy's vectorized sort is several times faster than torch's."""
    if block.device.type != "cpu":
        return block.sort(dim=1).values
    return torch.from_numpy(np.sort(block.numpy(), axis=1))


def row_quantiles(
    values: Float[Tensor, "rows numbers"], quantiles: Sequence[float | int]
) -> Float[Tensor, "rows quantiles"]:
    """Interpolate between the order statistics of each row, of any length: `torch.quantile` ends at 2^24.

    Example:
        >>> row_quantiles(torch.tensor([[3.0, 1.0, 2.0]]), (0, 0.75))
        tensor([[1.0000, 2.5000]])

    Args:
        values: Numbers, none of them NaN.
        quantiles: Numbers in [0, 1].
    """
    ordered = _sorted(values)
    place = torch.tensor(quantiles, dtype=torch.float64) * (ordered.shape[1] - 1)
    low, high = place.floor().long(), place.ceil().long()
    weight = (place - low).to(ordered)
    low, high = low.to(ordered.device), high.to(ordered.device)
    return torch.lerp(ordered[:, low], ordered[:, high], weight)
