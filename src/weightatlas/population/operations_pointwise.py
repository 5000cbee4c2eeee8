"""Operations that keep or merge shapes: activations, norms, dropout, flatten, add, concat."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from weightatlas.population.operations import Grads, Operation, Tape

aten = torch.ops.aten
# Forward and backward(grad, input, output) of the activations that occur in practice.
KNOWN: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "ReLU": (torch.relu, lambda g, x, y: aten.threshold_backward(g, y, 0)),
    "Tanh": (torch.tanh, lambda g, x, y: aten.tanh_backward(g, y)),
    "Sigmoid": (torch.sigmoid, lambda g, x, y: aten.sigmoid_backward(g, y)),
    "SiLU": (torch.nn.functional.silu, lambda g, x, y: aten.silu_backward(g, x)),
    "sin": (torch.sin, lambda g, x, y: g * torch.cos(x)),
}


class Activation(Operation):
    """A function of each number alone.

    Args:
        name: Unique name.
        function: The function; differentiated by autograd unless `backward` is given.
        derivative: (grad, input, output) -> gradient of the input.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[Tensor], Tensor],
        derivative: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(name)
        self.function, self.derivative = function, derivative

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        out = self.function(xs[0])
        tape.saved[self.key] = (xs[0], out)
        return out

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        x, y = tape.saved[self.key]
        if self.derivative is not None:
            return (self.derivative(grad, x, y),)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            return torch.autograd.grad(self.function(leaf), leaf, grad)


class Flatten(Operation):
    """Merge channels and pixels into features: a view."""

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        tape.saved[self.key] = (xs[0].shape,)
        return xs[0].flatten(1, -2) if xs[0].ndim > 3 else xs[0]

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        (shape,) = tape.saved[self.key]
        return (grad.reshape(len(grad), *shape[1:]),)


class Identity(Operation):
    """Pass on what came in."""

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        return xs[0]

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        return (grad,)


class Dropout(Operation):
    """Multiply by a mask that was drawn outside, in training."""

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        mask = tape.state.get(self.own("mask")) if tape.training else None
        tape.saved[self.key] = (None if mask is None else mask.movedim(1, -1).contiguous(),)
        return xs[0] if mask is None else xs[0] * tape.saved[self.key][0]

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        (mask,) = tape.saved[self.key]
        return (grad if mask is None else grad * mask,)


class Add(Operation):
    """Sum of values of equal shape."""

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        tape.saved[self.key] = tuple(len(x) for x in xs)
        return xs[0] + xs[1]

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        return tuple(summed(grad, count) for count in tape.saved[self.key])


class Concat(Operation):
    """Join values along the channels or features."""

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        tape.saved[self.key] = tuple((len(x), x.shape[1]) for x in xs)
        most = max(len(x) for x in xs)
        return torch.cat([x.expand(most, *x.shape[1:]) for x in xs], dim=1)

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        parts = grad.split([width for _, width in tape.saved[self.key]], dim=1)
        return tuple(summed(p, count) for p, (count, _) in zip(parts, tape.saved[self.key], strict=True))


def summed(grad: Tensor, networks: int) -> Tensor:
    """Add up the gradients of a value that all networks shared."""
    return grad if len(grad) == networks else grad.sum(dim=0, keepdim=True)


class BatchNorm(Operation):
    """Batch norm on features or images, with running statistics in eval mode."""

    def __init__(self, name: str, epsilon: float, momentum: float, affine: bool, tracks: bool) -> None:
        super().__init__(name)
        self.epsilon, self.momentum, self.affine, self.tracks = epsilon, momentum, affine, tracks

    @property
    def tensors(self) -> tuple[str, ...]:
        leaves = ["weight", "bias"] * self.affine + ["running_mean", "running_var"] * self.tracks
        return tuple(self.own(leaf) for leaf in leaves)

    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        x = xs[0].flatten(2)
        own = tape.training or not self.tracks
        if own:
            variance, mean = torch.var_mean(x, dim=2, correction=0)
            if self.tracks:
                self._remember(tape, mean, variance, x.shape[2])
        else:
            mean, variance = tape.state[self.own("running_mean")], tape.state[self.own("running_var")]
        inverse = torch.rsqrt(variance + self.epsilon)
        scale = inverse * tape.state[self.own("weight")] if self.affine else inverse.expand(tape.networks, -1)
        shift = -mean * scale
        shift = shift + tape.state[self.own("bias")] if self.affine else shift
        tape.saved[self.key] = (x, mean, inverse, scale, own)
        return torch.addcmul(shift[:, :, None], x, scale[:, :, None]).view(tape.networks, *xs[0].shape[1:])

    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        x, mean, inverse, scale, own = tape.saved[self.key]
        shape, grad = grad.shape, grad.flatten(2)
        total = grad.sum(dim=2)
        normal = (x - mean[:, :, None]) * inverse[:, :, None]
        along = (grad * normal).sum(dim=2)
        if self.affine:
            tape.give(self.own("weight"), along)
            tape.give(self.own("bias"), total)
        back = grad * scale[:, :, None]
        if own:
            count = x.shape[2]
            back -= (scale / count)[:, :, None] * (total[:, :, None] + normal * along[:, :, None])
        else:
            tape.give(self.own("running_mean"), -total * scale)
            tape.give(self.own("running_var"), -0.5 * along * scale * inverse)
        return (summed(back, len(x)).view(len(x), *shape[1:]),)

    def _remember(self, tape: Tape, mean: Tensor, variance: Tensor, count: int) -> None:
        fresh = {"running_mean": mean, "running_var": variance * (count / (count - 1))}
        for leaf, value in fresh.items():
            before = tape.state[self.own(leaf)]
            tape.statistics[self.own(leaf)] = torch.lerp(before, value.expand_as(before), self.momentum)
