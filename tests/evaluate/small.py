"""A two-layer network of 51 parameters, batched by hand: enough to judge judgements."""

import torch
from torch import Tensor

from weightatlas.evaluate.exam import Exam
from weightatlas.weights.spec import Axis, NetworkSpec, Segment, TensorSpec


def _axis(members: int, group: int | None = None) -> Axis:
    return (Segment(members=members, group=group),)


def _tensor(name: str, axes: tuple[Axis, ...], layer: int) -> TensorSpec:
    shape = tuple(sum(segment.size for segment in axis) for axis in axes)
    return TensorSpec(
        name=name, shape=shape, role="weight" if len(axes) == 2 else "bias", axes=axes, layer=layer
    )


SPEC = NetworkSpec(
    tensors=(
        _tensor("0.weight", (_axis(6, 0), _axis(4)), 0),
        _tensor("0.bias", (_axis(6, 0),), 0),
        _tensor("2.weight", (_axis(3), _axis(6, 0)), 1),
        _tensor("2.bias", (_axis(3),), 1),
    ),
    groups=(6,),
)


def run(values: Tensor, inputs: Tensor) -> Tensor:
    """Outputs of all networks, shape `(networks, queries, 3)`."""
    first, bias, second, shift = values.split([24, 6, 18, 3], dim=1)
    hidden = torch.einsum("qi,mhi->mqh", inputs, first.reshape(-1, 6, 4)) + bias[:, None]
    return torch.einsum("mqh,mch->mqc", hidden.relu(), second.reshape(-1, 3, 6)) + shift[:, None]


def permuted(values: Tensor, order: Tensor) -> Tensor:
    """Reorder the hidden neurons by hand; the function stays."""
    first, bias, second, shift = values.split([24, 6, 18, 3], dim=1)
    parts = [first.reshape(-1, 6, 4)[:, order].flatten(1), bias[:, order]]
    return torch.cat([*parts, second.reshape(-1, 3, 6)[:, :, order].flatten(1), shift], dim=1)


def networks(count: int, seed: int = 0, noise: float = 0.5) -> Tensor:
    """Networks that resemble a common teacher."""
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(1, 51, generator=torch.Generator().manual_seed(96))
    teacher[:, 48:] = 0
    return teacher + noise * torch.randn(count, 51, generator=generator)


def exam(queries: int = 200, chunk: int = 7) -> Exam:
    """Images labelled by the teacher."""
    inputs = torch.randn(queries, 4, generator=torch.Generator().manual_seed(5))
    labels = run(networks(1, noise=0.0), inputs).argmax(2)[0]
    return Exam(lambda values: run(values, inputs), labels, chunk)
