"""Running statistics of batch norm, estimated anew from unlabelled inputs."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightatlas.errors import DataError
from weightatlas.population.engines import VmapEngine
from weightatlas.population.prepare import momenta_of
from weightatlas.weights.spec import NetworkSpec


@torch.no_grad()
def recalibrate(
    network: nn.Module,
    spec: NetworkSpec,
    weights: Float[Tensor, "networks params"],
    inputs: Tensor,
    batch_size: int = 128,
    chunk: int = 32,
) -> Float[Tensor, "networks params"]:
    """Replace running means and variances by the average over batches of unlabelled inputs.

    Decoded or averaged weights come with running statistics that fit nothing; this makes them fit again.

    Args:
        network: Any module of the function.
        spec: Its layout.
        weights: Networks as rows; not changed.
        inputs: Unlabelled inputs, shape `(queries, ...)`; an incomplete last batch is left out.
        batch_size: Inputs per batch, at least 2.
        chunk: Networks that run together.

    Returns:
        Weights with new running statistics; the same weights if the network has none.

    Raises:
        DataError: There are fewer inputs than one batch.
    """
    batch_size = min(batch_size, len(inputs))
    if batch_size < 2:
        raise DataError(f"Norm statistics need at least 2 inputs, got {len(inputs)}.")
    result = weights.clone()
    engine = VmapEngine(network, spec)
    momenta = momenta_of(engine.training)
    batches = [b for b in inputs.split(batch_size) if len(b) == batch_size]
    for rows in result.split(chunk):
        blank = rows.clone()
        for name in momenta:
            blank[:, spec.slices[name]] = 0.0  # what comes out is then momentum times the batch's own
            rows[:, spec.slices[name]] = 0.0
        for batch in batches:
            _, after = engine.train_outputs(blank, batch.expand(len(rows), *batch.shape), {})
            for name, value in after.items():
                rows[:, spec.slices[name]] += value.flatten(1) / (momenta[name] * len(batches))
    return result


def with_valid_variances(
    spec: NetworkSpec, weights: Float[Tensor, "networks params"], floor: float = 1e-4
) -> Float[Tensor, "networks params"]:
    """Raise running variances that a decoder made too small or negative, which would give NaN.

    Args:
        spec: Layout of the rows.
        weights: Networks as rows; not changed.
        floor: Smallest variance.
    """
    result = weights.clone()
    for tensor in spec.tensors:
        if tensor.role == "running_var":
            result[:, spec.slices[tensor.name]].clamp_(min=floor)
    return result
