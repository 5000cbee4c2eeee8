"""Where refinement starts: at an autoencoder's codes, in a random subspace, or at whole networks."""

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.encoders.base import Autoencoder
from weightatlas.encoders.charts import Chart
from weightatlas.errors import ConfigError
from weightatlas.runtime import generator_of
from weightatlas.weights.batch import Weights


def chart_of(encoder: Autoencoder, weights: Weights) -> Chart:
    """Start at an autoencoder's codes of some networks; the decoder stays as it is.

    Args:
        encoder: Any autoencoder of these networks.
        weights: The originals.
    """
    with torch.no_grad():
        codes = encoder.encode(weights).codes
    return encoder.chart(codes, weights.spec)


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


def offset_chart(values: Float[Tensor, "networks params"], numbers: int, seed: int = 0) -> Chart:
    """Start at networks as they are and move each in a random subspace through itself.

    The baseline of methods that train a network by few numbers: a subspace through one center would first
    throw away what lies outside of it.

    Args:
        values: Networks as rows.
        numbers: Dimension of the subspace.
        seed: Seed of the subspace.

    Raises:
        ConfigError: The dimension is not between 1 and the number of parameters.
    """
    offset = random_chart(torch.zeros_like(values), torch.zeros_like(values[0]), numbers, seed)
    return Chart(offset.start, lambda x: values + offset.decode(x), numbers, offset.lr)


def free_chart(values: Float[Tensor, "networks params"], lr: float = 3e-3) -> Chart:
    """Start at given networks and move all their weights: distillation into a fresh network.

    Args:
        values: Fresh networks as rows, one per original.
        lr: Learning rate.
    """
    return Chart(values.clone(), lambda x: x, values.shape[1], lr)
