"""Outputs of the original networks over a pool of queries, computed once."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.population.forward import Population


@dataclass(frozen=True, slots=True)
class Targets:
    """Cached outputs; permuting an original does not change them.

    Args:
        outputs: What every network says to every query of the pool, shape `(networks, pool, ...)`.
    """

    outputs: Float[Tensor, "networks pool *rest"]

    def take(
        self, rows: Int[Tensor, " some"], queries: Int[Tensor, " queries"], dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "some queries *rest"]:
        """Return the outputs of some networks on some queries of the pool."""
        return self.outputs[rows[:, None], queries[None, :]].to(dtype)

    def __len__(self) -> int:
        return len(self.outputs)


def cache_targets(
    population: Population,
    weights: Float[Tensor, "networks params"],
    inputs: Tensor,
    dtype: torch.dtype = torch.float32,
) -> Targets:
    """Run the originals on a whole pool of queries once.

    Args:
        population: Runs the networks.
        weights: The originals as rows.
        inputs: All queries of the pool, shape `(pool, ...)`.
        dtype: `torch.float16` halves the memory at a relative error of about 0.0005.
    """
    rows, _ = population.pieces(len(weights), inputs)
    parts = [population.outputs_no_grad(part, inputs).to(dtype) for part in weights.split(rows)]
    return Targets(torch.cat(parts))
