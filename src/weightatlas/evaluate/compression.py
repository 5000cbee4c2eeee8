"""Networks at a given size: what plain storage formats and trivial codes reach, in honest bits."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightatlas.errors import ConfigError, DataError
from weightatlas.evaluate.distances import nearest
from weightatlas.weights.spec import NetworkSpec

_QUANTIZED = ("weight", "embedding")
_CLIPS = tuple(1.0 - 0.05 * step for step in range(13))
_HALF_MAX = 65504.0


@dataclass(frozen=True, slots=True)
class Compressed:
    """Networks after a round trip through a small representation.

    Args:
        name: What was done ("int4 per channel").
        weights: The networks that come back, shape `(networks, params)`.
        bits: Size of one network: everything that differs between networks, scales and indices included.
        fixed: Bits stored once for all networks: decoder, bases, ranges. Reported beside, never hidden.
    """

    name: str
    weights: Float[Tensor, "networks params"]
    bits: float
    fixed: float = 0.0

    @property
    def bits_per_parameter(self) -> float:
        """Bits of one network divided by its parameters."""
        return self.bits / self.weights.shape[1]


def half(values: Float[Tensor, "networks params"]) -> Compressed:
    """Store every number as fp16; numbers beyond its range are clipped to it."""
    rounded = values.clamp(-_HALF_MAX, _HALF_MAX).half().float()
    return Compressed("fp16", rounded, 16.0 * values.shape[1])


def integers(values: Float[Tensor, "networks params"], spec: NetworkSpec, bits: int) -> Compressed:
    """Store weights as integers with one bf16 scale per output channel, everything else as fp16.

    Symmetric round-to-nearest; each channel's clipping point is the best of 13 in squared error. Two
    bits use the four levels -1.5, -0.5, 0.5, 1.5 times the scale, since three would waste one.

    Example:
        >>> from weightatlas.weights.spec import Segment, TensorSpec
        >>> axes = ((Segment(members=1),), (Segment(members=4),))
        >>> weight = TensorSpec(name="w", shape=(1, 4), role="weight", axes=axes, layer=0)
        >>> integers(torch.tensor([[1.0, -1.0, 0.25, 0.0]]), NetworkSpec(tensors=(weight,)), bits=8).bits
        48.0

    Args:
        values: Networks as rows.
        spec: Their layout.
        bits: 2 to 8.

    Returns:
        Dequantized weights; size counts integers, scales and the fp16 rest (biases, norms).
    """
    if not 2 <= bits <= 8:
        raise ConfigError(f"Integers of {bits} bits are not stored; choose 2 to 8.")
    channel, coarse = _channels(spec)
    channel = channel.to(values.device)
    index = channel[None].expand_as(values)
    count = int(channel.max()) + 1
    top = (values.new_zeros(len(values), count)).scatter_reduce(1, index, values.abs(), "amax")
    best, least = values.clone(), torch.full_like(top, torch.inf)
    for clip in _CLIPS:
        decoded = _round(values, (top * clip).bfloat16().float().gather(1, index), bits)
        error = torch.zeros_like(top).scatter_add(1, index, (decoded - values).square())
        better = error < least
        best = torch.where(better.gather(1, index), decoded, best)
        least = torch.where(better, error, least)
    coarse = coarse.to(values.device)
    decoded = torch.where(coarse, best, half(values).weights)
    numbers = int(coarse.sum())
    scales = len(channel[coarse].unique())
    size = bits * numbers + 16.0 * scales + 16.0 * (values.shape[1] - numbers)
    return Compressed(f"int{bits} per channel", decoded, size)


def _round(values: Tensor, top: Tensor, bits: int) -> Tensor:
    """Round to the levels that span [-top, top]; a channel of zeros stays zero."""
    if bits == 2:
        step = (top / 1.5).clamp_min(1e-30)
        return ((values / step - 0.5).round().clamp(-2, 1) + 0.5) * step
    limit = 2 ** (bits - 1) - 1
    step = (top / limit).clamp_min(1e-30)
    return (values / step).round().clamp(-limit, limit) * step


def _channels(spec: NetworkSpec) -> tuple[Int[Tensor, " params"], Bool[Tensor, " params"]]:
    """Number the output channels of all tensors; mark the parameters worth quantizing."""
    channel, coarse, total = [], [], 0
    for tensor in spec.tensors:
        rows = max(tensor.rows, 1)
        channel.append(total + torch.arange(tensor.size) // max(tensor.size // rows, 1))
        coarse.append(torch.full((tensor.size,), tensor.role in _QUANTIZED))
        total += rows
    return torch.cat(channel), torch.cat(coarse)


def prune(
    values: Float[Tensor, "networks params"],
    keep: float,
    spec: NetworkSpec | None = None,
    value_bits: int = 16,
) -> Compressed:
    """Keep the largest weights of each network as fp16 and say which they are.

    The positions cost what an entropy coder needs for them, the logarithm of the number of choices: one bit a
    parameter if half are kept, 0.47 if a tenth are. Norm statistics and other buffers are always kept (they
    are no candidates for pruning).

    Args:
        values: Networks as rows.
        keep: Share of the trainable weights to keep, above 0 and at most 1.
        spec: Layout that says what is trainable; without it everything is.
        value_bits: 16 or 32 bits per kept number.
    """
    if not 0 < keep <= 1:
        raise ConfigError(f"Pruning keeps a share above 0 and at most 1 of the weights, not {keep:g}.")
    params = values.shape[1]
    candidates = torch.ones(params, dtype=torch.bool) if spec is None else spec.trainable
    candidates = candidates.to(values.device)
    count = max(round(keep * int(candidates.sum())), 1)
    size = values.abs().masked_fill(~candidates, -1)
    kept = torch.zeros_like(values, dtype=torch.bool).scatter_(1, size.topk(count, dim=1).indices, True)
    numbers = half(values).weights if value_bits == 16 else values
    decoded = torch.where(kept | ~candidates, numbers, 0.0)
    trainable = int(candidates.sum())
    bits = value_bits * (count + params - trainable) + choice_bits(trainable, count)
    return Compressed(f"pruned to {keep:.0%}", decoded, bits)


def choice_bits(total: int, count: int) -> float:
    """Bits that say which `count` of `total` places are chosen, all choices alike.

    Example:
        >>> round(choice_bits(1000, 500)), round(choice_bits(1000, 100))
        (995, 464)
    """
    return (math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)) / math.log(2)


def mean_network(train: Float[Tensor, "others params"], networks: int) -> Compressed:
    """Rebuild everything as the mean training network: no bits at all."""
    mean = train.double().mean(0).float()
    return Compressed("mean network", mean.expand(networks, -1).clone(), 0.0, 32.0 * train.shape[1])


def nearest_network(
    values: Float[Tensor, "networks params"], train: Float[Tensor, "others params"]
) -> Compressed:
    """Rebuild every network as its nearest training network: the bits of an index."""
    _, index = nearest(values, train)
    return Compressed(
        "nearest training network",
        train[index],
        math.log2(len(train)),
        32.0 * train.shape[0] * train.shape[1],
    )


@dataclass(frozen=True, slots=True)
class CodeRanges:
    """Center and scale of each code number over training networks, and how far to clip for each bit count.

    Args:
        center: Mean of each number, shape `(*code,)`.
        scale: Its standard deviation.
        clips: Bits -> clipping point in units of the scale, shape `(*code,)`.
    """

    center: Float[Tensor, "*code"]
    scale: Float[Tensor, "*code"]
    clips: dict[int, Float[Tensor, "*code"]]


def fit_ranges(
    codes: Float[Tensor, "networks *code"], bits: tuple[int, ...] = (2, 3, 4, 5, 6, 8)
) -> CodeRanges:
    """Find where to clip each code number so that rounding training codes errs least.

    Args:
        codes: Codes of training networks.
        bits: The sizes that will be asked for.

    Raises:
        DataError: There are fewer than two networks.
    """
    if len(codes) < 2:
        raise DataError(f"Ranges need the codes of at least 2 training networks; there are {len(codes)}.")
    center, scale = codes.mean(0), codes.std(0).clamp_min(1e-12)
    unit = (codes - center) / scale
    factors = torch.linspace(0.8, 6.0, 27, device=codes.device)
    clips = {}
    for size in bits:
        errors = torch.stack([(_uniform(unit, f, size) - unit).square().mean(0) for f in factors])
        clips[size] = factors[errors.argmin(0)]
    return CodeRanges(center, scale, clips)


def quantize_codes(
    codes: Float[Tensor, "networks *code"], bits: int, ranges: CodeRanges
) -> tuple[Float[Tensor, "networks *code"], float, float]:
    """Round every code number to `bits` bits within ranges fitted on training networks.

    Args:
        codes: Codes to store.
        bits: 2 to 8 as fitted, 16 for fp16, 32 for no rounding.
        ranges: From `fit_ranges`.

    Returns:
        Rounded codes, bits per network, and the fixed bits of the ranges.

    Raises:
        ConfigError: The ranges were not fitted for this size.
    """
    numbers = codes[0].numel()
    if bits == 32:
        return codes, 32.0 * numbers, 0.0
    if bits == 16:
        return codes.clamp(-_HALF_MAX, _HALF_MAX).half().float(), 16.0 * numbers, 0.0
    if bits not in ranges.clips:
        known = ", ".join(str(size) for size in (*ranges.clips, 16, 32))
        raise ConfigError(f"The ranges were not fitted for {bits} bits.", todo=f"Fitted: {known}.")
    unit = (codes - ranges.center) / ranges.scale
    rounded = _uniform(unit, ranges.clips[bits], bits) * ranges.scale + ranges.center
    return rounded, float(bits * numbers), 3 * 32.0 * numbers


def _uniform(unit: Tensor, clip: Tensor, bits: int) -> Tensor:
    """Round to 2^bits evenly spaced levels in [-clip, clip], the outermost half a step inside."""
    step = 2 * clip / 2**bits
    half_range = 2 ** (bits - 1)
    return ((unit / step).floor().clamp(-half_range, half_range - 1) + 0.5) * step
