"""Operations of the images engine: one network at a time, channels innermost, by oneDNN's kernels.

Images are laid out as `(1, batch, height, width, channels)` and features as `(1, batch, features)`. What
looks at pixels alone (pooling, activations) is shared with the batched engine: height and width are the
same axes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from weightatlas.population.operations import Grads, NoProgram, Operation, Tape, leaves_of
from weightatlas.population.operations_pointwise import BatchNorm, Channels, Concat, Dropout, Flatten

aten = torch.ops.aten


def images_of(x: Tensor) -> Tensor:
    """View `(1, batch, height, width, channels)` as `(batch, channels, height, width)`."""
    return x[0].permute(0, 3, 1, 2)


def laid_out(images: Tensor) -> Tensor:
    """View or copy `(batch, channels, height, width)` as `(1, batch, height, width, channels)`."""
    return images.permute(0, 2, 3, 1).contiguous()[None]


class ImageConv2d(Operation):
    """Convolution by the library's kernel for channels-last images."""

    frees_output = True

    def __init__(
        self,
        name: str,
        bias: bool,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
    ) -> None:
        super().__init__(name)
        self.bias, self.leaves, self.groups = bias, leaves_of(bias), groups
        self.places = (list(stride), list(padding), list(dilation))

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        x, weight = images_of(xs[0]), tape.state[self.own("weight")][0]
        weight = weight.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        bias = tape.state[self.own("bias")][0].contiguous() if self.bias else None
        tape.saved[self.key] = (x, weight)
        return laid_out(aten.convolution(x, weight, bias, *self.places, False, [0, 0], self.groups))

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        x, weight = tape.saved[self.key]
        wanted = [needed[0], True, self.bias]
        sizes = [len(weight)] if self.bias else None
        places = (*self.places, False, [0, 0], self.groups)
        back, kernels, total = aten.convolution_backward(images_of(grad), x, weight, sizes, *places, wanted)
        tape.give(self.own("weight"), kernels[None])
        if self.bias:
            tape.give(self.own("bias"), total[None])
        return (laid_out(back),) if needed[0] else (None,)


class ImageLinear(Operation):
    """Dense layer on `(1, batch, features)`."""

    frees_output = True

    def __init__(self, name: str, bias: bool) -> None:
        super().__init__(name)
        self.bias, self.leaves = bias, leaves_of(bias)

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        if xs[0].ndim != 3:
            raise NoProgram(
                f"Dense layer '{self.name}' on inputs with {xs[0].ndim - 2} axes has no form of one network."
            )
        tape.saved[self.key] = xs
        weight = tape.state[self.own("weight")][0]
        out = tape.room(self, (1, xs[0].shape[1], len(weight)), xs[0])
        if self.bias:
            torch.addmm(tape.state[self.own("bias")][0], xs[0][0], weight.T, out=out[0])
        else:
            torch.mm(xs[0][0], weight.T, out=out[0])
        return out

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        (x,) = tape.saved[self.key]
        tape.give(self.own("weight"), (grad[0].T @ x[0])[None])
        if self.bias:
            tape.give(self.own("bias"), grad.sum(dim=1))
        return ((grad[0] @ tape.state[self.own("weight")][0])[None],) if needed[0] else (None,)


class ImageNorm(BatchNorm):
    """Batch norm over all axes but the last."""

    def rows(self, x: Tensor) -> Tensor:
        return images_of(x) if x.ndim == 5 else x[0]

    def restored(self, rows: Tensor, shape: torch.Size) -> Tensor:
        return laid_out(rows) if len(shape) == 5 else rows[None]


class ImageFlatten(Flatten):
    """Merge pixels and channels into features, channels first."""

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        tape.saved[self.key] = (xs[0].shape,)
        return xs[0] if xs[0].ndim == 3 else images_of(xs[0]).flatten(1)[None]

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        (shape,) = tape.saved[self.key]
        if len(shape) == 3:
            return (grad,)
        _, batch, height, width, channels = shape
        return (laid_out(grad.reshape(batch, channels, height, width)),)


class ImageDropout(Dropout):
    """Multiply by a mask that was drawn outside, in training."""

    def arranged(self, mask: Tensor) -> Tensor:
        return laid_out(mask[0]) if mask.ndim == 5 else mask


class ImageConcat(Concat):
    """Join values along the channels or features."""

    axis = -1


class ImageChannels(Channels):
    """Some neighbouring channels or features of a value."""

    axis = -1
