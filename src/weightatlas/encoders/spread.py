"""One matrix product with two broadcast terms, a ReLU and the means of the result, a few networks at a time.

Written out, the step reads and writes every feature a dozen times; over a whole batch each of these
passes goes to main memory. Here a few networks at a time stay in the cache for the whole step, forward and
backward. It holds for float64 as well, so `torch.autograd.gradcheck` can judge it.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_CHUNK = 1 << 19  # numbers of one block of a few networks: two megabytes
_LANES = 16


def spread(
    x: Float[Tensor, "networks rows columns width_in"],
    point: Float[Tensor, "width_in width_out"],
    of_rows: Float[Tensor, "networks rows width_out"],
    of_columns: Float[Tensor, "networks columns width_out"],
    relu: bool,
) -> tuple[
    Float[Tensor, "networks rows columns width_out"],
    Float[Tensor, "networks rows width_out"],
    Float[Tensor, "networks columns width_out"],
]:
    """Return `x @ point + of_rows + of_columns`, optionally through a ReLU, and its two means.

    Args:
        x: Features of a block with two permuted axes.
        point: The map of the number itself.
        of_rows: A term shared along each row.
        of_columns: A term shared along each column.
        relu: Apply a ReLU.
    """
    if torch.is_autocast_enabled(x.device.type) or x.dtype not in (torch.float32, torch.float64) or x.is_cuda:
        # In 16 bits the products cost half, the passes over memory twice as much: nothing is gained.
        y = x @ point + of_rows[:, :, None] + of_columns[:, None]
        y = torch.relu(y) if relu else y
        return y, y.mean(2), y.mean(1)
    return _Spread.apply(x, point, of_rows, of_columns, relu)  # pyright: ignore[reportReturnType]


def _chunks(shape: torch.Size, width: int) -> list[slice]:
    """Ranges of networks, about equally many in each, whose features fit the cache."""
    count, rows, columns, width_in = shape
    most = max(1, _CHUNK // (rows * columns * max(width, width_in)))
    step = math.ceil(count / max(1, math.ceil(count / most)))
    return [slice(start, min(start + step, count)) for start in range(0, count, max(step, 1))]


def _padded(point: Tensor) -> Tensor:
    """Widen a matrix with zeros to whole vector registers; narrow products run at half the speed."""
    return F.pad(point, (0, -point.shape[1] % _LANES))


class _Spread(torch.autograd.Function):
    """Forward and backward, chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, point: Tensor, of_rows: Tensor, of_columns: Tensor, relu: bool) -> Any:
        width = point.shape[1]
        wide = _padded(point)
        y = x.new_empty(*x.shape[:3], wide.shape[1])
        y[..., width:] = 0.0
        row_means, column_means = torch.empty_like(of_rows), torch.empty_like(of_columns)
        for part in _chunks(x.shape, wide.shape[1]):
            out = y[part]
            torch.add(of_rows[part][:, :, None], of_columns[part][:, None], out=out[..., :width])
            flat = out.view(-1, wide.shape[1])
            flat.addmm_(x[part].reshape(len(flat), -1), wide)
            if relu:
                out.relu_()
            torch.mean(out[..., :width], 2, out=row_means[part])
            torch.mean(out[..., :width], 1, out=column_means[part])
        ctx.save_for_backward(x, wide, y)
        ctx.relu, ctx.width = relu, width
        ctx.set_materialize_grads(False)
        return y[..., :width], row_means, column_means

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_y: Tensor | None, of_row_means: Tensor | None, of_column_means: Tensor | None
    ) -> Any:
        x, wide, y = ctx.saved_tensors
        width = ctx.width
        of_point = torch.zeros_like(wide)
        by_row = x.new_empty(*y.shape[:2], width)
        by_column = x.new_empty(y.shape[0], y.shape[2], width)
        down = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        chunks = _chunks(x.shape, wide.shape[1])
        buffer = torch.empty_like(y[chunks[0]]) if chunks else y
        buffer[..., width:] = 0.0
        for part in chunks:
            grad = buffer[: len(y[part])]
            _collect(grad[..., :width], part, of_y, of_row_means, of_column_means)
            if ctx.relu:
                torch.ops.aten.threshold_backward.grad_input(grad, y[part], 0, grad_input=grad)
            torch.sum(grad[..., :width], 2, out=by_row[part])
            torch.sum(grad[..., :width], 1, out=by_column[part])
            flat, given = grad.view(-1, wide.shape[1]), x[part].reshape(-1, x.shape[-1])
            of_point.addmm_(given.T, flat)
            if down is not None:
                torch.mm(flat, wide.T, out=down[part].view(-1, x.shape[-1]))
        return down, of_point[:, :width], by_row, by_column, None


def _collect(
    grad: Tensor, part: slice, of_y: Tensor | None, of_rows: Tensor | None, of_columns: Tensor | None
) -> None:
    """Write the gradient of some networks' results: their own and what the means pass on."""
    _, rows, columns, _ = grad.shape
    given = [] if of_y is None else [of_y[part]]
    if of_columns is not None:
        given.append((of_columns[part] / rows)[:, None])
    if of_rows is not None:
        given.append((of_rows[part] / columns)[:, :, None])
    if not given:
        grad.zero_()
        return
    torch.add(given[-1].expand_as(grad), given[-2] if len(given) > 1 else 0.0, out=grad)
    for more in given[:-2]:
        grad.add_(more)
