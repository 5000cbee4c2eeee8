"""Weights of any layout on one scale: by fan-in and kind of tensor, large ones compressed."""

from functools import lru_cache
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightatlas.weights.batch import Batch
from weightatlas.weights.spec import NetworkSpec

KINDS = {"weight": 0, "embedding": 0, "bias": 1, "norm_scale": 2, "norm_shift": 1}  # others: 3
_OTHER = 3


class Magnitudes(nn.Module):
    """Brings single numbers of any network to the same size.

    A weight is multiplied by the root of its fan-in, as initializations divide by it, then divided by the
    mean size of its kind (weight, bias, norm scale, other) over the training networks. No layout is
    assumed, and numbers that a permutation exchanges are treated alike. The inverse hyperbolic sine keeps
    networks whose weights ran away in range; numbers of usual size hardly change.
    """

    size: Float[Tensor, " kinds"]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("size", torch.ones(_OTHER + 1))

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Measure the mean size of each kind over training networks."""
        total, count = torch.zeros(2, _OTHER + 1, dtype=torch.float64)
        for group in batch:
            kinds, factors = described(group.spec)
            size = (group.values.cpu() * factors).abs().double().mean(0)
            total.index_add_(0, kinds, size * len(group))
            count.index_add_(0, kinds, torch.full_like(size, len(group)))
        mean = (total / count.clamp_min(1)).clamp_min(1e-4)
        self.size.copy_(torch.where(count > 0, mean, 1.0))

    def forward(self, values: Float[Tensor, "networks params"], spec: NetworkSpec) -> Tensor:
        """Return numbers of about unit size, shape `(networks, params)`."""
        kinds, factors = (part.to(values.device) for part in described(spec))
        return torch.asinh(values * (factors.to(values.dtype) / self.size.to(values.dtype)[kinds]))


@lru_cache(maxsize=64)
def described(spec: NetworkSpec) -> tuple[Int[Tensor, " params"], Float[Tensor, " params"]]:
    """Say of each number its kind and the root of its fan-in (1 for vectors)."""
    kinds, factors = [], []
    for tensor in spec.tensors:
        kind = KINDS.get(tensor.role, _OTHER)
        fan = max(prod(tensor.shape[1:]), 1) if tensor.role == "weight" else 1
        kinds.append(torch.full((tensor.size,), kind))
        factors.append(torch.full((tensor.size,), fan**0.5))
    return torch.cat(kinds), torch.cat(factors)
