"""Operations that keep or merge shapes: activations, norms, dropout, flatten, add, concat, channels."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from weightatlas.population.operations import Grads, NoProgram, Operation, Tape, summed

aten = torch.ops.aten
# forward(input, out=...) and backward(grad, input, output, out) of the activations that occur in practice.
Forward = Callable[..., Tensor]
Backward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
# The last entry says whether backward looks at the output alone.
KNOWN: dict[str, tuple[Forward, Backward, bool]] = {
    "ReLU": (
        lambda x, out: torch.clamp_min(x, 0, out=out),
        lambda g, x, y, out: aten.threshold_backward.grad_input(g, y, 0, grad_input=out),
        True,
    ),
    "Tanh": (torch.tanh, lambda g, x, y, out: aten.tanh_backward.grad_input(g, y, grad_input=out), True),
    "Sigmoid": (
        torch.sigmoid,
        lambda g, x, y, out: aten.sigmoid_backward.grad_input(g, y, grad_input=out),
        True,
    ),
    "SiLU": (aten.silu.out, lambda g, x, y, out: aten.silu_backward.grad_input(g, x, grad_input=out), False),
    "sin": (torch.sin, lambda g, x, y, out: torch.cos(x, out=out).mul_(g), False),
}


def leaky(slope: float) -> tuple[Forward, Backward, bool]:
    """Kernels of a leaky ReLU; its sign, and so its gradient, can be read from its output.

    Args:
        slope: Factor of negative numbers, above zero.
    """
    return (
        lambda x, out: aten.leaky_relu.out(x, slope, out=out),
        lambda g, x, y, out: aten.leaky_relu_backward.grad_input(g, y, slope, True, grad_input=out),
        True,
    )


def scaled(factor: float) -> tuple[Forward, Backward, bool]:
    """Kernels of a product with a constant."""
    return (
        lambda x, out: torch.mul(x, factor, out=out),
        lambda g, x, y, out: torch.mul(g, factor, out=out),
        True,
    )


class Activation(Operation):
    """A function of each number alone that has kernels of its own."""

    def __init__(self, name: str, forward: Forward, backward: Backward, by_output: bool) -> None:
        super().__init__(name)
        self.compute, self.derive, self.by_output = forward, backward, by_output

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        room = xs[0] if self.reuse else tape.room(self, xs[0].shape, xs[0])
        out = self.compute(xs[0], out=room)
        tape.saved[self.key] = (xs[0], out)
        return out

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        x, y = tape.saved[self.key]
        return (self.derive(grad, x, y, y),)  # all who read the output are done with it


class Pointwise(Operation):
    """Any function of each number alone, differentiated by autograd."""

    def __init__(self, name: str, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__(name)
        self.function = function

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        tape.saved[self.key] = xs
        return self.function(xs[0])

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        with torch.enable_grad():
            leaf = tape.saved[self.key][0].detach().requires_grad_(True)
            return torch.autograd.grad(self.function(leaf), leaf, grad)


class Flatten(Operation):
    """Merge channels and pixels into features: a view."""

    frees_input, passes = True, True

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        tape.saved[self.key] = (xs[0].shape,)
        return xs[0].flatten(1, -2) if xs[0].ndim > 3 else xs[0]

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        (shape,) = tape.saved[self.key]
        return (grad.reshape(len(grad), *shape[1:]),)


class Identity(Operation):
    """Pass on what came in."""

    frees_input, passes = True, True

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        return xs[0]

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        return (grad,)


class Dropout(Operation):
    """Multiply by a mask that was drawn outside, in training."""

    frees_input, passes = True, True

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        mask = tape.state.get(self.own("mask")) if tape.training else None
        tape.saved[self.key] = (None if mask is None else self.arranged(mask),)
        return xs[0] if mask is None else xs[0] * tape.saved[self.key][0]

    def arranged(self, mask: Tensor) -> Tensor:
        """Bring a mask `(networks, batch, ...)` to the order of the values."""
        return mask.movedim(1, -1).contiguous()

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        (mask,) = tape.saved[self.key]
        return (grad if mask is None else grad * mask,)


class Add(Operation):
    """Sum of values of equal shape."""

    frees_output, frees_input = True, True

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        if xs[0].shape[1:] != xs[1].shape[1:]:
            raise NoProgram(f"Sum '{self.name}' of values of unequal shapes has no batched form.")
        tape.saved[self.key] = tuple(len(x) for x in xs)
        most = max(len(x) for x in xs)
        out = tape.room(self, (most, *xs[0].shape[1:]), xs[0])
        return torch.add(xs[0], xs[1], out=out)

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        return tuple(summed(grad, count) for count in tape.saved[self.key])


class Concat(Operation):
    """Join values along the channels or features."""

    frees_input: ClassVar[bool] = True
    axis: ClassVar[int] = 1

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        tape.saved[self.key] = tuple((len(x), x.shape[self.axis]) for x in xs)
        most = max(len(x) for x in xs)
        return torch.cat([x.expand(most, *x.shape[1:]) for x in xs], dim=self.axis)

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        saved = tape.saved[self.key]
        parts = grad.split([width for _, width in saved], dim=self.axis)
        return tuple(summed(p, count).contiguous() for p, (count, _) in zip(parts, saved, strict=True))


class Channels(Operation):
    """Some neighbouring channels or features of a value."""

    frees_output, frees_input = True, True
    axis: ClassVar[int] = 1

    def __init__(self, name: str, part: slice) -> None:
        super().__init__(name)
        self.part = part

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        tape.saved[self.key] = (xs[0].shape,)
        piece = self.cut(xs[0])
        return tape.room(self, piece.shape, piece).copy_(piece)

    def cut(self, x: Tensor) -> Tensor:
        """View the chosen channels."""
        start, stop, _ = self.part.indices(x.shape[self.axis])
        return x.narrow(self.axis, start, max(stop - start, 0))

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        back = grad.new_zeros(tape.saved[self.key][0])
        self.cut(back).copy_(grad)
        return (back,)


class BatchNorm(Operation):
    """Batch norm on features or images, with running statistics in eval mode."""

    frees_output = True

    def __init__(self, name: str, epsilon: float, momentum: float, affine: bool, tracks: bool) -> None:
        super().__init__(name)
        self.epsilon, self.momentum, self.affine, self.tracks = epsilon, momentum, affine, tracks
        self.leaves = ("weight", "bias") * affine + ("running_mean", "running_var") * tracks

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        x = xs[0].expand(tape.networks, *xs[0].shape[1:]).contiguous()
        rows = self.rows(x)
        own = tape.training or not self.tracks
        weight, bias = (self._row(tape, leaf) for leaf in ("weight", "bias"))
        mean, variance = (self._row(tape, leaf) for leaf in ("running_mean", "running_var"))
        if own and mean is not None and variance is not None:
            mean, variance = mean.clone(), variance.clone()
        out, work = tape.room(self, x.shape, x), tape.kept or tape.work
        seen = [work.take((self.key, leaf), (rows.shape[1],), rows) for leaf in ("mean", "inverse")]
        into = {"out": self.rows(out), "save_mean": seen[0], "save_invstd": seen[1]}
        aten.native_batch_norm.out(
            rows, weight, bias, mean, variance, own, self.momentum, self.epsilon, **into
        )
        if own and mean is not None and variance is not None:
            fresh = {"running_mean": mean, "running_var": variance}
            tape.statistics |= {self.own(k): v.view(tape.networks, -1) for k, v in fresh.items()}
        tape.saved[self.key] = (rows, weight, mean, variance, *seen, own, len(xs[0]))
        return out

    def rows(self, x: Tensor) -> Tensor:
        """View a value as one batch whose channels are all channels of all networks."""
        return x.view(1, -1, x[0, 0].numel())

    def restored(self, rows: Tensor, shape: torch.Size) -> Tensor:
        """Undo `rows`."""
        return rows.view(shape)

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        rows, weight, mean, variance, *seen, own, count = tape.saved[self.key]
        shape, grad = grad.shape, self.rows(grad.contiguous())
        wanted = [needed[0], True, True]
        back, along, total = aten.native_batch_norm_backward(
            grad, rows, weight, mean, variance, *seen, own, self.epsilon, wanted
        )
        if self.affine:
            tape.give(self.own("weight"), along)
            tape.give(self.own("bias"), total)
        if not own:
            inverse = torch.rsqrt(variance + self.epsilon)
            scale = inverse if weight is None else inverse * weight
            tape.give(self.own("running_mean"), -total * scale)
            tape.give(self.own("running_var"), -0.5 * along * scale * inverse)
        return (summed(self.restored(back, shape), count),) if needed[0] else (None,)

    def _row(self, tape: Tape, leaf: str) -> Tensor | None:
        """Join a tensor of all networks to one row, or none if the layer has none."""
        value = tape.state[self.own(leaf)] if self.own(leaf) in self.tensors else None
        return None if value is None else value.reshape(-1)
