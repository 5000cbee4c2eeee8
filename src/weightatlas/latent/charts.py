"""Charts: the free numbers that refinement may move, and the networks they stand for."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.encoders.activation import Activation
from weightatlas.encoders.base import Autoencoder
from weightatlas.errors import ConfigError
from weightatlas.runtime import generator_of
from weightatlas.weights.batch import Weights, weights_of


@dataclass(slots=True)
class Chart:
    """Where refinement starts and what its numbers mean.

    Args:
        start: First position of each network, shape `(networks, numbers)`.
        decode: Positions to weights `(networks, params)`, differentiable.
        numbers: Free numbers per network: what would have to be stored.
        lr: A learning rate that suits the units of the positions.
        settle: Called now and then and at the end; may replace positions by equivalent ones that
            can be decoded from `numbers` numbers alone.
    """

    start: Float[Tensor, "networks free"]
    decode: Callable[[Tensor], Tensor]
    numbers: int
    lr: float
    settle: Callable[[Tensor], Tensor] | None = None


def chart_of(encoder: Autoencoder, weights: Weights) -> Chart:
    """Start at an autoencoder's codes of some networks; the decoder stays as it is.

    Activation codes are moved in weight space, inside the span of their decoder's bases, and put
    back on what their codes can express whenever they settle, because their bases move along with
    the layers before them.

    Args:
        encoder: Any autoencoder of these networks.
        weights: The originals.
    """
    spec = weights.spec
    if isinstance(encoder, Activation):
        return _activation_chart(encoder, weights)
    with torch.no_grad():
        codes = encoder.encode(weights).codes
    shape = codes.shape[1:]

    def decode(x: Tensor) -> Tensor:
        return encoder.decode(x.reshape(len(x), *shape), spec).weights

    return Chart(codes.flatten(1), decode, encoder.code_numbers(spec), lr=0.05)


def _activation_chart(encoder: Activation, weights: Weights) -> Chart:
    """Move in weight space within the bases of the current networks."""
    spec = weights.spec
    start = encoder.reconstruct(weights)
    held = [encoder.bases(start)]

    def settle(x: Tensor) -> Tensor:
        # Coding what is already nearly in the span changes it little, and later layers make up for it.
        settled = encoder.reconstruct(weights_of(encoder.project(x, held[0]), spec))
        held[0] = encoder.bases(settled)
        return settled

    return Chart(
        start, lambda x: encoder.project(x, held[0]), encoder.code_numbers(spec), lr=1e-3, settle=settle
    )


def random_chart(
    values: Float[Tensor, "networks params"],
    center: Float[Tensor, " params"],
    numbers: int,
    seed: int = 0,
) -> Chart:
    """Start at the projection of networks on a random subspace through `center`: a trivial decoder.

    Every parameter is given to one of `numbers` coordinates with a random sign, so the axes are
    orthogonal and any size is cheap.

    Args:
        values: The originals as rows.
        center: Where the subspace passes through, such as the mean training network.
        numbers: Dimension of the subspace.
        seed: Seed of the subspace.

    Raises:
        ConfigError: The dimension is not between 1 and the number of parameters.
    """
    params = values.shape[1]
    if not 1 <= numbers <= params:
        raise ConfigError(f"A subspace of {params} parameters has 1 to {params} dimensions, not {numbers}.")
    generator = generator_of("random subspace", params, numbers, seed)
    owner = torch.randperm(params, generator=generator) % numbers
    sign = torch.randint(0, 2, (params,), generator=generator) * 2.0 - 1.0
    scale = (sign / torch.bincount(owner, minlength=numbers).sqrt()[owner]).to(values)
    owner = owner.to(values.device)

    def decode(x: Tensor) -> Tensor:
        return center + x[:, owner] * scale

    start = values.new_zeros(len(values), numbers).index_add_(1, owner, (values - center) * scale)
    return Chart(start, decode, numbers, lr=0.02)


def free_chart(values: Float[Tensor, "networks params"], lr: float = 3e-3) -> Chart:
    """Start at given networks and move all their weights: distillation into a fresh network.

    Args:
        values: Fresh networks as rows, one per original.
        lr: Learning rate.
    """
    return Chart(values.clone(), lambda x: x, values.shape[1], lr)
