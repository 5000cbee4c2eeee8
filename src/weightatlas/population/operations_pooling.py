"""Operations that pool images, by PyTorch's channels-last kernels with the batch as channels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from weightatlas.population.operations import Grads, Operation, Tape


def images_last(x: Tensor) -> Tensor:
    """View `(networks, channels, height, width, batch)` as channels-last images, the batch as channels."""
    return x.contiguous().view(-1, *x.shape[2:]).permute(0, 3, 1, 2)


def images_first(x: Tensor, networks: int) -> Tensor:
    """Undo `images_last`."""
    x = x.permute(0, 2, 3, 1).contiguous()
    return x.view(networks, -1, *x.shape[1:])


class MaxPool2d(Operation):
    """Maximum over windows, by PyTorch's channels-last kernel."""

    frees_output, frees_input = True, True

    def __init__(self, name: str, options: tuple) -> None:
        super().__init__(name)
        self.options = options  # kernel, stride, padding, dilation, ceil_mode
        self.halves = options == ([2, 2], [2, 2], [0, 0], [1, 1], False)

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        x = images_last(xs[0])
        shape = _pooled_shape(x, *self.options)
        out = tape.room(self, shape, x)
        if self.halves and not tape.graded:
            return _halved(tape, self.key, xs[0], out)
        index = tape.work.take((self.key, "index"), shape, x, dtype=torch.int64)
        into = {"out": out.permute(0, 3, 1, 2), "indices": index.permute(0, 3, 1, 2)}
        torch.ops.aten.max_pool2d_with_indices.out(x, *self.options, **into)
        if tape.kept is not None:
            kind = torch.uint8 if x.shape[2] * x.shape[3] <= 256 else torch.int32
            index = tape.kept.take((self.key, "index"), shape, x, dtype=kind).copy_(index)
        tape.saved[self.key] = (x, index)
        return out.view(len(xs[0]), -1, *shape[1:])

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        x, index = tape.saved[self.key]
        back = x.permute(0, 2, 3, 1)  # the kernel looks at the index only, so the input makes room
        if tape.kept is not None:
            index = tape.work.take((self.key, "index"), index.shape, x, dtype=torch.int64).copy_(index)
        if tape.kept is not None or not self.reuse:
            back = tape.work.take((self.key, "back"), back.shape, x)
        into = back.permute(0, 3, 1, 2)
        torch.ops.aten.max_pool2d_with_indices_backward.grad_input(
            images_last(grad), into, *self.options, index.permute(0, 3, 1, 2), grad_input=into
        )
        return (back.view(len(grad), -1, *back.shape[1:]),)


def _halved(tape: Tape, key: str, x: Tensor, out: Tensor) -> Tensor:
    """Pool by 2 without telling where the maximum was: twice as fast as the kernel that tells."""
    _, high, wide, batch = out.shape
    x = x.contiguous()[:, :, : 2 * high, : 2 * wide].unflatten(3, (wide, 2))
    lines = tape.work.take((key, "lines"), (*x.shape[:4], batch), x)
    torch.maximum(x[:, :, :, :, 0], x[:, :, :, :, 1], out=lines)
    out = out.view(*x.shape[:2], high, wide, batch)
    return torch.maximum(lines[:, :, 0::2], lines[:, :, 1::2], out=out)


def _pooled_shape(
    x: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int], ceil: bool
) -> tuple[int, int, int, int]:
    """Shape (images, height, width, batch) of what pooling makes of `(images, batch, height, width)`."""
    sides = []
    for axis in (0, 1):
        room = x.shape[2 + axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1
        side = -(-room // stride[axis]) if ceil else room // stride[axis]
        if ceil and side * stride[axis] >= x.shape[2 + axis] + padding[axis]:
            side -= 1  # a last window must start inside the input or its left border
        sides.append(side + 1)
    return x.shape[0], sides[0], sides[1], x.shape[1]


class AvgPool2d(Operation):
    """Mean over windows, by PyTorch's channels-last kernel."""

    frees_input = True

    def __init__(self, name: str, options: tuple) -> None:
        super().__init__(name)
        self.options = options  # kernel, stride, padding, ceil_mode, count_include_pad, divisor_override

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        x = images_last(xs[0])
        tape.saved[self.key] = (x,)
        return images_first(torch.ops.aten.avg_pool2d(x, *self.options), len(xs[0]))

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        (x,) = tape.saved[self.key]
        back = torch.ops.aten.avg_pool2d_backward(images_last(grad), x, *self.options)
        return (images_first(back, len(grad)),)


class GlobalMean(Operation):
    """Mean over all pixels; keeps them as axes of size one if asked."""

    frees_input = True

    def __init__(self, name: str, keep: bool) -> None:
        super().__init__(name)
        self.keep = keep

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        tape.saved[self.key] = (xs[0].shape,)
        return xs[0].mean(dim=(2, 3), keepdim=self.keep)

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        (shape,) = tape.saved[self.key]
        grad = grad if self.keep else grad[:, :, None, None]
        return ((grad / (shape[2] * shape[3])).expand(len(grad), *shape[1:]),)
