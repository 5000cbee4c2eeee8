"""Principal components as a code: the linear baseline at any size."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.evaluate.compression import Compressed, fit_ranges, quantize_codes
from weightatlas.weights.spec import NetworkSpec


@dataclass(frozen=True, slots=True)
class Block:
    """The linear code of one part of the networks.

    Args:
        index: Flat parameter indices, shape `(tokens, width)`: each row is coded by the same basis.
        mean: Mean row, shape `(width,)`.
        basis: Directions by falling variance, shape `(width, directions)`.
        variance: Variance along each direction, shape `(directions,)`.
    """

    index: Int[Tensor, "tokens width"]
    mean: Float[Tensor, " width"]
    basis: Float[Tensor, "width directions"]
    variance: Float[Tensor, " directions"]


def pca(
    values: Float[Tensor, "networks params"],
    train: Float[Tensor, "others params"],
    spec: NetworkSpec,
    numbers: int,
    over: str = "tokens",
    bits: int = 16,
) -> Compressed:
    """Rebuild networks from principal components fitted on training networks.

    Networks aligned to one reference (`symmetry.canonical`) compress better over "networks" and
    compute the same; align both sets before the call to give this baseline its best chance.

    Args:
        values: Networks to store.
        train: Training networks, for the bases and the ranges of the code numbers.
        spec: Layout of both.
        numbers: Over "tokens": code numbers per token, where a token is one neuron's incoming weights
            and bias and all tokens of a layer share a basis (the size of a SANE code). Over "networks":
            code numbers per network, each layer a vector of its own, numbers given to the layers'
            directions that explain the largest share of their layer.
        over: "tokens" or "networks".
        bits: Bits per code number.

    Returns:
        Decoded networks; the bases are fixed costs.

    Raises:
        DataError: There are fewer than two training networks, or no number is left to code.
    """
    if len(train) < 2 or numbers < 1:
        raise DataError(f"PCA needs 2 training networks and 1 code number; got {len(train)} and {numbers}.")
    rows = neurons(spec)
    if over == "networks":
        rows = [index.reshape(1, -1) for index in rows]
    blocks = [_fit(train, index.to(train.device)) for index in rows]
    kept = [min(numbers, len(block.variance)) for block in blocks]
    if over == "networks":
        kept = _shares(blocks, numbers)
    decoded = values.clone()
    size = fixed = 0.0
    for block, count in zip(blocks, kept, strict=True):
        basis = block.basis[:, :count]
        codes, train_codes = ((x[:, block.index] - block.mean) @ basis for x in (values, train))
        if count:
            codes, spent, ranges = quantize_codes(codes, bits, fit_ranges(train_codes, (bits,)[: bits <= 8]))
            size, fixed = size + spent, fixed + ranges
        decoded[:, block.index.flatten()] = (codes @ basis.T + block.mean).flatten(1)
        fixed += 32.0 * (basis.numel() + block.mean.numel())
    name = f"PCA of {over}, {numbers} numbers, {bits} bits"
    return Compressed(name, decoded, size, fixed)


def neurons(spec: NetworkSpec) -> list[Int[Tensor, "rows width"]]:
    """Index every layer as rows of one output neuron: its incoming weights, then its bias or norm numbers.

    Tensors of a layer whose first axes differ in size become rows of their own.
    """
    found = []
    for layer in spec.layers:
        by_rows: dict[int, list[Tensor]] = {}
        for place in layer:
            tensor, start = spec.tensors[place], spec.offsets[place]
            index = torch.arange(start, start + tensor.size).reshape(tensor.rows, -1)
            by_rows.setdefault(tensor.rows, []).append(index)
        found += [torch.cat(parts, dim=1) for parts in by_rows.values()]
    return found


def _fit(train: Tensor, index: Tensor) -> Block:
    """Principal directions of the rows of all training networks."""
    rows = train[:, index].flatten(0, 1).double()
    mean = rows.mean(0)
    centered = rows - mean
    if centered.shape[0] >= centered.shape[1]:
        variance, basis = torch.linalg.eigh(centered.T @ centered / len(rows))
        variance, basis = variance.flip(0), basis.flip(1)
    else:
        _, singular, right = torch.linalg.svd(centered, full_matrices=False)
        variance, basis = singular.square() / len(rows), right.T
    return Block(index, mean.float(), basis.float(), variance.clamp_min(0).float())


def _shares(blocks: list[Block], numbers: int) -> list[int]:
    """Give code numbers to the directions that explain most of their own layer's variance."""
    shares = torch.cat([block.variance / block.variance.sum().clamp_min(1e-30) for block in blocks])
    owner = torch.cat([torch.full((len(block.variance),), place) for place, block in enumerate(blocks)])
    best = shares.cpu().argsort(descending=True, stable=True)[:numbers]
    return torch.bincount(owner[best], minlength=len(blocks)).tolist()
