"""Traces that operations leave in the weights of one network: zeros and grids of levels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.weights.spec import NetworkSpec

_TOPS = (1, 3, 7, 127, 2, 15, 31, 63)  # largest integers of symmetric grids, the usual ones first
_STEPS = (3, 7, 15, 255)  # steps between smallest and largest value of asymmetric grids
_ON_GRID = 5e-3  # farthest a value may lie from its level, in steps
_FIRST = 64  # numbers of a line that are enough to exclude most grids
_FEWEST = 12  # numbers that must lie on a grid to believe in it


@dataclass(frozen=True)
class Traces:
    """What was done to one network.

    Args:
        zeros: Share of exact zeros in its weight tensors.
        precision: "float16", "bfloat16", "int8", "int4 per row", ..., or none.
        rounding: Root mean square of the rounding error that this precision causes, over all numbers.
    """

    zeros: float
    precision: str | None
    rounding: float


def traces_of(vector: Float[Tensor, " params"], spec: NetworkSpec) -> Traces:
    """Look for pruning and rounding.

    Example:
        >>> from weightatlas.weights.spec import Segment, TensorSpec
        >>> fixed = lambda n: (Segment(members=n),)
        >>> spec = NetworkSpec(tensors=(
        ...     TensorSpec(name="w", shape=(4, 8), role="weight", axes=(fixed(4), fixed(8)), layer=0),))
        >>> values = torch.arange(32.0).sin()
        >>> found = traces_of(torch.where(values.abs() < 0.5, 0.0, values).half().float(), spec)
        >>> round(found.zeros, 2), found.precision
        (0.34, 'float16')

    Args:
        vector: One network, float32.
        spec: Its layout.
    """
    blocks = [
        vector[start : start + tensor.size].reshape(tensor.rows, -1).double()
        for tensor, start in zip(spec.tensors, spec.offsets, strict=True)
        if tensor.role == "weight" and tensor.size
    ]
    if not blocks:
        return Traces(0.0, None, 0.0)
    count = sum(block.numel() for block in blocks)
    zeros = sum(int((block == 0).sum()) for block in blocks) / count
    precision, rounding = _integers(blocks)
    if precision is None:
        precision, rounding = _short_float(vector)
    return Traces(zeros, precision, rounding)


def _short_float(vector: Tensor) -> tuple[str | None, float]:
    """Find a float format that holds every number exactly."""
    scale = float(vector.double().square().mean().sqrt())
    for dtype, bits in ((torch.bfloat16, 8), (torch.float16, 11)):
        if bool((vector.to(dtype).float() == vector.float()).all()):
            return str(dtype).removeprefix("torch."), scale * 2.0**-bits
    return None, 0.0


def _integers(blocks: list[Tensor]) -> tuple[str | None, float]:
    """Find an integer grid that all weight tensors lie on."""
    for scope in ("", " per row"):
        lined = [block if scope else block.reshape(1, -1) for block in blocks]
        for symmetric, levels in ((True, _TOPS), (False, _STEPS)):
            frames = [_frame(lines, symmetric) for lines in lined]
            for top in levels:
                pairs = zip(lined, frames, strict=True)
                if all(_on_grid(lines, frame, top) for lines, frame in pairs):
                    bits = (2 * top if symmetric else top).bit_length()
                    return f"int{bits}{scope}", _rounding(lined, [reach / top for _, reach in frames])
    return None, 0.0


def _frame(lines: Tensor, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Where the levels of every line start, and how far they reach."""
    if symmetric:
        return torch.zeros_like(lines[:, :1]), lines.abs().amax(dim=1, keepdim=True)
    low = lines.amin(dim=1, keepdim=True)
    return low, lines.amax(dim=1, keepdim=True) - low


def _on_grid(lines: Tensor, frame: tuple[Tensor, Tensor], top: int) -> bool:
    """Tell whether all numbers of every line are integers times its step; a few are looked at first."""
    low, reach = frame
    step = (reach / top).clamp_min(1e-30)
    for some in (lines[:, :_FIRST], lines):
        places = (some - low) / step
        if float(((places - places.round()).abs() * (reach > 0)).amax()) >= _ON_GRID:
            return False
    informative = int(((lines != 0) & (lines.abs() < reach)).sum())
    return informative >= min(_FEWEST, lines.numel() // 4)


def _rounding(lined: list[Tensor], steps: list[Tensor]) -> float:
    """Root mean square error of rounding to these steps, uniform within a step."""
    pairs = zip(lined, steps, strict=True)
    squares = sum(float((step**2 / 12).sum()) * lines.shape[1] for lines, step in pairs)
    return (squares / sum(lines.numel() for lines in lined)) ** 0.5
