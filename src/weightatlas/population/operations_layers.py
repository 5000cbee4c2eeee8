"""Layers with weights for the batched engine: one matrix product per network, the batch innermost."""

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from weightatlas.population import operations_windows as windows
from weightatlas.population.operations import Grads, NoProgram, Operation, Tape, even, leaves_of, summed
from weightatlas.population.operations_windows import Windows

WHOLE_MB = 1.25  # unfolded inputs up to this size are unfolded whole
SHEAF_MB = 2.0  # unfolded inputs of the networks that are convolved together: about a second-level cache


def _matmul(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """Multiply batches of matrices; a batch of one is shared by all and becomes one large product.

    Args:
        a: Shape `(networks, rows, inner)`.
        b: Shape `(networks or 1, inner, columns)`.
        out: Where the result goes.
    """
    if b.shape[0] == 1:
        flat = a.reshape(-1, a.shape[2])
        into = None if out is None else out.view(-1, b.shape[2])
        return torch.mm(flat, b[0], out=into).view(*a.shape[:2], b.shape[2])
    return torch.bmm(a, b, out=out)


def _columns_gradient(weight: Tensor, grad: Tensor, shared: bool, out: Tensor | None = None) -> Tensor:
    """Return `weight^T grad` per network, summed over networks if they share the input."""
    if not shared:
        return torch.bmm(weight.transpose(1, 2), grad, out=out)
    flat = grad.reshape(-1, grad.shape[2])
    into = None if out is None else out[0]
    return torch.mm(weight.reshape(flat.shape[0], -1).T, flat, out=into)[None]


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """Return `grad x^T` per network, computed in the order whose rows fill vector registers better."""
    if len(x) < len(grad):
        return torch.mm(x[0], grad.reshape(-1, grad.shape[2]).T).T.view(*grad.shape[:2], -1)
    if windows.filled(x.shape[1]) < windows.filled(grad.shape[1]):
        return torch.bmm(x, grad.transpose(1, 2)).transpose(1, 2)
    return torch.bmm(grad, x.transpose(1, 2))


class Linear(Operation):
    """Dense layer on `(networks, features, batch)`."""

    frees_output = True

    def __init__(self, name: str, bias: bool) -> None:
        super().__init__(name)
        self.bias, self.leaves = bias, leaves_of(bias)

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        if xs[0].ndim != 3:
            raise NoProgram(
                f"Dense layer '{self.name}' on inputs with {xs[0].ndim - 2} axes has no batched form."
            )
        weight = tape.state[self.own("weight")]
        tape.saved[self.key] = xs
        shape = (tape.networks, weight.shape[1], xs[0].shape[2])
        out = _matmul(weight, xs[0], out=tape.room(self, shape, xs[0]))
        return out.add_(tape.state[self.own("bias")][:, :, None]) if self.bias else out

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        (x,) = tape.saved[self.key]
        tape.give(self.own("weight"), _weight_gradient(grad, x))
        if self.bias:
            tape.give(self.own("bias"), grad.sum(dim=2))
        if not needed[0]:
            return (None,)
        out = tape.work.take((self.key, "back"), x.shape, x)
        return (_columns_gradient(tape.state[self.own("weight")], grad, len(x) == 1, out),)


class Conv2d(Operation):
    """Convolution as unfolding and one matrix product per network and channel group."""

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
        self.bias, self.kernel, self.stride, self.padding = bias, kernel, stride, padding
        self.dilation, self.groups, self.leaves = dilation, groups, leaves_of(bias)

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        plan = self._plan(tape, xs[0])
        if plan is not None:
            return self._forward_in_tiles(tape, xs[0], plan)
        x = xs[0] if self.groups == 1 else xs[0].expand(tape.networks, *xs[0].shape[1:])
        padded = self._pad(tape, x)
        weight, (height, width, batch) = self._weight(tape), self._size(padded)
        out = tape.room(self, (*weight.shape[:2], height * width * batch), x)
        for rows, kernels, sheaf in self._sheaves(tape, padded):
            _matmul(weight[kernels], self._unfold(tape, sheaf), out=out[kernels])
            if self.bias:
                each = out[kernels].view(rows.stop - rows.start, -1, out.shape[2])
                each.add_(tape.state[self.own("bias")][rows, :, None])
        tape.saved[self.key] = (x if tape.kept is not None else padded, x.shape, len(xs[0]))
        return out.view(tape.networks, -1, height, width, batch)

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        if self.bias:
            tape.give(self.own("bias"), grad.flatten(2).sum(dim=2))
        if isinstance(tape.saved[self.key][0], Windows):
            return (self._backward_in_tiles(tape, grad, needed[0]),)
        saved, shape, count = tape.saved[self.key]
        padded = saved if tape.kept is None else self._pad(tape, saved)
        weight, back = self._weight(tape), None
        grad = grad.reshape(len(weight), weight.shape[1], -1)
        total = tape.work.take((self.key, "weight"), weight.shape, grad)
        if needed[0]:
            back = tape.work.take((self.key, "back"), shape, grad)
        for rows, kernels, sheaf in self._sheaves(tape, padded):
            columns = self._unfold(tape, sheaf)
            total[kernels] = _weight_gradient(grad[kernels], columns)
            if back is not None:  # nobody needs the columns any more: their buffer takes the gradient
                shared = shape[0] == 1 and self.groups == 1
                columns = _columns_gradient(weight[kernels], grad[kernels], shared, out=columns)
                self._fold(columns, back[: len(sheaf)] if shared else back[rows], padded.shape)
        tape.give(self.own("weight"), total.view(tape.state[self.own("weight")].shape))
        return (None if back is None else summed(back, count),)

    def _sheaves(self, tape: Tape, padded: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
        """Cut a block into networks whose unfolded inputs stay in the cache: all, if they share their input.

        Yields:
            The networks, their kernel matrices, and their inputs.
        """
        count, size = tape.networks, prod(self._size(padded)) * padded.shape[1] * prod(self.kernel)
        step = count
        if len(padded) > 1:
            step = even(count, max(int(SHEAF_MB * 2**20 / (padded.element_size() * max(size, 1))), 1))
        for start in range(0, count, step):
            rows = slice(start, min(start + step, count))
            kernels = slice(rows.start * self.groups, rows.stop * self.groups)
            yield rows, kernels, padded[rows] if len(padded) > 1 else padded

    def _plan(self, tape: Tape, x: Tensor) -> Windows | None:
        """Work in tiles if the unfolded input of one network is too large for the cache."""
        if self.groups > 1 or self.dilation != (1, 1) or prod(self.kernel) == 1 or not x.numel():
            return None
        _, channels, high, wide, batch = x.shape
        image = (channels, high, wide, batch)
        plan = Windows(self.kernel, self.stride, self.padding, image, x.element_size())
        columns = x.shape[1] * prod(self.kernel) * plan.side[0] * plan.line * x.element_size()
        return plan if columns > WHOLE_MB * 2**20 else None

    def _forward_in_tiles(self, tape: Tape, x: Tensor, plan: Windows) -> Tensor:
        padded, weight = self._pad(tape, x), tape.state[self.own("weight")]
        bias = tape.state[self.own("bias")] if self.bias else None
        out = tape.room(self, (*weight.shape[:2], *plan.side, x.shape[4]), x)
        tape.saved[self.key] = (plan, x if tape.kept is not None else padded, x.shape)
        for n, (image, kernels, target) in enumerate(zip(*_merged(len(x), padded, weight, out), strict=True)):
            own = None if bias is None else bias[n] if len(x) > 1 else bias.flatten()
            windows.forward(plan, image, kernels, own, target, tape.work, self.key)
        return out

    def _backward_in_tiles(self, tape: Tape, grad: Tensor, needed: bool) -> Tensor | None:
        plan, saved, shape = tape.saved[self.key]
        padded = saved if tape.kept is None else self._pad(tape, saved)
        weight, back = tape.state[self.own("weight")], None
        if needed:
            back = tape.work.take((self.key, "back"), shape, padded).zero_()
        parts = []
        merged = zip(*_merged(len(padded), padded, weight, grad.contiguous()), strict=True)
        for n, (image, kernels, own) in enumerate(merged):
            into = None if back is None else back[n]
            parts.append(windows.backward(plan, image, kernels, own, into, tape.work, self.key))
        tape.give(self.own("weight"), torch.stack(parts).view(weight.shape))
        return back

    def _weight(self, tape: Tape) -> Tensor:
        """View the kernel as one matrix per network and channel group."""
        weight = tape.state[self.own("weight")].flatten(2)
        if self.groups == 1:
            return weight
        return weight.flatten(2).reshape(tape.networks * self.groups, -1, weight.shape[2])

    def _size(self, padded: Tensor) -> tuple[int, int, int]:
        """Height, width and batch of the output."""
        return self._side(padded.shape[2], 0), self._side(padded.shape[3], 1), padded.shape[4]

    def _side(self, padded: int, axis: int) -> int:
        return (padded - self.dilation[axis] * (self.kernel[axis] - 1) - 1) // self.stride[axis] + 1

    def _pad(self, tape: Tape, x: Tensor) -> Tensor:
        top, left = self.padding
        if not top and not left:
            return x if x.is_contiguous() else x.contiguous()
        shape = (*x.shape[:2], x.shape[2] + 2 * top, x.shape[3] + 2 * left, x.shape[4])
        padded = tape.work.take((self.key, "padded"), shape, x, zero=True)  # its border stays zero
        padded[:, :, top : top + x.shape[2], left : left + x.shape[3]].copy_(x)
        return padded

    def _unfold(self, tape: Tape, x: Tensor) -> Tensor:
        """Copy the patches to `(networks * groups, channels * kernel, pixels * batch)`."""
        networks, channels, *_ = x.shape
        height, width, batch = self._size(x)
        step = x.stride()
        shape = (networks, channels, *self.kernel, height, width, batch)
        moves = [step[2] * self.dilation[0], step[3] * self.dilation[1]]
        view = x.as_strided(
            shape,
            (*step[:2], *moves, step[2] * self.stride[0], step[3] * self.stride[1], 1),
            x.storage_offset(),
        )
        columns = tape.work.take((self.key, "columns"), shape, x).copy_(view)
        groups = networks * self.groups
        return columns.view(groups, channels * prod(self.kernel) // self.groups, height * width * batch)

    def _fold(self, columns: Tensor, back: Tensor, padded: torch.Size) -> None:
        """Add the patches to where they came from, leaving out the border; `back` is written over."""
        back.zero_()
        shape, sizes = back.shape, [self._side(padded[2 + axis], axis) for axis in (0, 1)]
        parts = columns.view(*shape[:2], *self.kernel, *sizes, shape[4])
        for i in range(self.kernel[0]):
            start = i * self.dilation[0] - self.padding[0]
            rows, above = windows.meet(start, self.stride[0], shape[2], sizes[0])
            for j in range(self.kernel[1]):
                start = j * self.dilation[1] - self.padding[1]
                across, left = windows.meet(start, self.stride[1], shape[3], sizes[1])
                back[:, :, rows, across].add_(parts[:, :, i, j, above, left])


def _merged(inputs: int, image: Tensor, weight: Tensor, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Join the kernels of all networks to one large convolution if they share their input."""
    if inputs > 1 or len(weight) == 1:
        return image, weight, output
    return image, weight.flatten(0, 1)[None], output.flatten(0, 1)[None]
