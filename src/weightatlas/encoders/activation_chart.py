"""How activation codes are refined: in weight space, within the bases of the current networks."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.encoders.charts import Chart
from weightatlas.encoders.moments import second_moment
from weightatlas.weights.batch import weights_of
from weightatlas.weights.vector import unflatten

if TYPE_CHECKING:
    from weightatlas.encoders.activation import Activation

Bases = list[Float[Tensor, "networks _ _"]]


def basis_chart(encoder: "Activation", start: Float[Tensor, "networks params"]) -> Chart:
    """Start at decoded networks and move inside the span of their decoder's bases.

    The bases move along with the layers before them, so networks are put back on what codes can
    express whenever they settle.

    Args:
        encoder: Activation codes.
        start: Decoded networks as rows.
    """
    held = [bases(encoder, start)]

    def settle(x: Tensor) -> Tensor:
        # Coding what is already nearly in the span changes it little, and later layers make up for it.
        settled = encoder.reconstruct(weights_of(project(encoder, x, held[0]), encoder.layout))
        held[0] = bases(encoder, settled)
        return settled

    parts = tuple(tensor.size for tensor in encoder.layout.tensors)
    return Chart(start, lambda x: project(encoder, x, held[0]), encoder.budget, 1e-3, settle, parts)


def last_layer_chart(encoder: "Activation", codes: Float[Tensor, "networks 1 width"], numbers: int) -> Chart:
    """Start at codes and move the numbers of the last coded layer that are not zero.

    No basis depends on this layer, so that what is refined is a code at any time.

    Args:
        encoder: Activation codes.
        codes: Where to start.
        numbers: Numbers per network that are stored.
    """
    spec, last = encoder.layout, len(encoder.layers) - 1
    start, before = encoder.decode(codes, spec).weights, codes[:, 0, encoder.places()[-1]]

    def axes(part: Tensor) -> tuple[Tensor, Tensor]:
        stream = encoder.stream(encoder.tape(part))
        columns = next(columns for index, columns in stream if index == last)
        return encoder.basis(last, second_moment(columns), len(part))

    with torch.no_grad():
        found = encoder.in_chunks(axes, start)
    basis, energy = (torch.cat(parts) for parts in zip(*found, strict=True))

    def decode(x: Tensor) -> Tensor:
        state = unflatten(start, spec)
        encoder.set_code(state, last, torch.where(before != 0, x, 0.0), basis, energy)
        return torch.cat([state[t.name].flatten(1) for t in spec.tensors], dim=1)

    return Chart(before, decode, numbers, lr=0.01)


@torch.no_grad()
def bases(encoder: "Activation", values: Float[Tensor, "networks params"]) -> Bases:
    """Return the basis of each coded layer of decoded networks, orthonormal columns."""

    def axes(part: Tensor) -> Bases:
        stream = encoder.stream(encoder.tape(part))
        return [encoder.basis(i, second_moment(columns), len(part))[0] for i, columns in stream]

    found = encoder.in_chunks(axes, values)
    return [torch.cat([part[i] for part in found]) for i in range(len(encoder.layers))]


def project(
    encoder: "Activation", values: Float[Tensor, "networks params"], axes: Bases
) -> Float[Tensor, "networks params"]:
    """Drop from each layer what lies outside its basis; gradients flow through.

    Args:
        encoder: Activation codes.
        values: Networks as rows.
        axes: One basis per layer, from `bases`.
    """
    state = unflatten(values, encoder.layout)
    for layer, basis in zip(encoder.layers, axes, strict=True):
        rows = layer.read(state)
        layer.write(state, (rows @ basis) @ basis.transpose(1, 2))
    return torch.cat([state[t.name].flatten(1) for t in encoder.layout.tensors], dim=1)
