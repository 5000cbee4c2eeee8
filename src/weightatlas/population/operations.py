"""Operations on many networks at once, each with its hand-written backward pass.

Images are laid out as `(networks, channels, height, width, batch)` and features as
`(networks, features, batch)`. With the batch innermost, unfolding copies long runs, pooling works on
vectors, flattening is free, and every convolution is one matrix product per network. A value that all
networks share has `networks == 1`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from weightatlas.errors import ConfigError


class NoProgram(ConfigError):
    """The network uses an operation that has no batched form; other engines can run it."""


Grads = tuple[Tensor | None, ...]


class Workspace:
    """Buffers that are made once and used again in every step; one per thread.

    Fresh memory costs more than most operations here: the system hands it out page by page.
    """

    def __init__(self) -> None:
        self._held: dict[object, Tensor] = {}

    def take(
        self,
        key: object,
        shape: Sequence[int],
        like: Tensor,
        zero: bool = False,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return the buffer of a key; new ones are zero if asked, old ones hold what was written last."""
        size, dtype = prod(shape), dtype or like.dtype
        key = (key, dtype, tuple(shape)) if zero else (key, dtype)  # another shape would move the zeros
        held = self._held.get(key)
        if held is None or held.numel() < size:
            make = torch.zeros if zero else torch.empty
            held = self._held[key] = make(size, dtype=dtype, device=like.device)
        return held[:size].view(tuple(shape))

    @property
    def numbers(self) -> int:
        """How many numbers all buffers hold."""
        return sum(buffer.numel() for buffer in self._held.values())


@dataclass
class Tape:
    """What one pass remembers.

    Args:
        state: Tensors by name, shape `(networks, ...)`; dropout masks too.
        networks: How many networks run.
        work: Buffers to use.
        training: Whether norms use batch statistics and dropout applies.
        grads: Gradients by tensor name, filled by the backward pass.
        statistics: New running statistics by name, filled by the forward pass in training.
    """

    state: dict[str, Tensor]
    networks: int
    work: Workspace
    training: bool = False
    grads: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)
    saved: dict[str, tuple] = field(default_factory=dict)

    def give(self, name: str, grad: Tensor) -> None:
        """Add to the gradient of a tensor."""
        self.grads[name] = self.grads[name] + grad if name in self.grads else grad


class Operation(ABC):
    """One step of a program.

    Args:
        name: Unique name; tensors of the layer are called `name.weight` and so on.
    """

    frees_output: ClassVar[bool] = False  # its backward pass does not look at what it put out

    def __init__(self, name: str) -> None:
        self.name = self.key = name  # a layer that is called twice gets another key per call
        self.leaves: tuple[str, ...] = ()  # tensors of the layer, without its name
        self.reuse = False  # nobody else needs the input: its memory may be written over

    @abstractmethod
    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        """Compute the output and save on the tape what backward needs."""

    @abstractmethod
    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        """Write gradients of the layer's tensors to the tape; return those of the needed inputs."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors this operation reads."""
        return tuple(self.own(leaf) for leaf in self.leaves)

    def own(self, leaf: str) -> str:
        return f"{self.name}.{leaf}" if self.name else leaf


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


def summed(grad: Tensor, networks: int) -> Tensor:
    """Add up the gradients of a value that all networks shared."""
    return grad if len(grad) == networks else grad.sum(dim=0, keepdim=True)


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """Return `grad x^T` per network, computed in the order whose rows fill vector registers better."""
    if _filled(x.shape[1]) < _filled(grad.shape[1]) and x.shape[0] == grad.shape[0]:
        return torch.bmm(x, grad.transpose(1, 2)).transpose(1, 2)
    return _matmul(grad, x.transpose(1, 2))


def _filled(width: int) -> float:
    """Share of 16-number registers that a row of `width` numbers uses."""
    return width / (16 * -(-width // 16))


def _leaves(bias: bool) -> tuple[str, ...]:
    return ("weight", "bias") if bias else ("weight",)


class Linear(Operation):
    """Dense layer on `(networks, features, batch)`."""

    frees_output = True

    def __init__(self, name: str, bias: bool) -> None:
        super().__init__(name)
        self.bias, self.leaves = bias, _leaves(bias)

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        if xs[0].ndim != 3:
            raise NoProgram(
                f"Dense layer '{self.name}' on inputs with {xs[0].ndim - 2} axes has no batched form."
            )
        weight = tape.state[self.own("weight")]
        tape.saved[self.key] = xs
        shape = (tape.networks, weight.shape[1], xs[0].shape[2])
        out = _matmul(weight, xs[0], out=tape.work.take((self.key, "out"), shape, xs[0]))
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
        self.dilation, self.groups, self.leaves = dilation, groups, _leaves(bias)

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        x = xs[0] if self.groups == 1 else xs[0].expand(tape.networks, *xs[0].shape[1:])
        whole = x.shape
        x = self._pad(tape, x)
        columns = self._unfold(tape, x)
        weight = self._weight(tape)
        height, width, batch = self._size(x)
        out = tape.work.take((self.key, "out"), (*weight.shape[:2], height * width * batch), x)
        _matmul(weight, columns, out=out)
        out = out.view(tape.networks, -1, height * width * batch)
        if self.bias:
            out.add_(tape.state[self.own("bias")][:, :, None])
        tape.saved[self.key] = (columns, whole, x.shape, len(xs[0]))
        return out.view(tape.networks, -1, height, width, batch)

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        columns, shape, padded, count = tape.saved[self.key]
        if self.bias:
            tape.give(self.own("bias"), grad.flatten(2).sum(dim=2))
        grad = grad.reshape(tape.networks * self.groups, -1, columns.shape[2])
        tape.give(self.own("weight"), _weight_gradient(grad, columns))
        if not needed[0]:
            return (None,)
        shared = shape[0] == 1 and self.groups == 1
        # Nobody needs the columns any more: their buffer takes the gradient.
        back = _columns_gradient(self._weight(tape), grad, shared, out=columns)
        return (summed(self._fold(tape, back, shape, padded), count),)

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

    def _fold(self, tape: Tape, columns: Tensor, shape: torch.Size, padded: torch.Size) -> Tensor:
        """Add the patches back to where they came from, leaving out the border."""
        back = tape.work.take((self.key, "back"), shape, columns).zero_()
        sizes = [self._side(padded[2 + axis], axis) for axis in (0, 1)]
        parts = columns.view(*shape[:2], *self.kernel, *sizes, shape[4])
        for i in range(self.kernel[0]):
            rows, above = self._meet(i, 0, shape[2], sizes[0])
            for j in range(self.kernel[1]):
                across, left = self._meet(j, 1, shape[3], sizes[1])
                back[:, :, rows, across].add_(parts[:, :, i, j, above, left])
        return back

    def _meet(self, offset: int, axis: int, side: int, outputs: int) -> tuple[slice, slice]:
        """Pixels of the unpadded input that a kernel entry touches, and the outputs it touches them for."""
        stride, start = self.stride[axis], offset * self.dilation[axis] - self.padding[axis]
        first = max(-(start // stride), 0)
        last = min((side - 1 - start) // stride, outputs - 1)
        if last < first:
            return slice(0, 0), slice(0, 0)
        return slice(first * stride + start, last * stride + start + 1, stride), slice(first, last + 1)
