"""Small networks with random weights: strangers by construction."""

from functools import cache

import torch

from weightatlas.networks import create_network
from weightatlas.relate.null import Null
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.spec import NetworkSpec

NULL = Null(scores=(-0.1, 0.1), excess=0.02, pairs=1000, networks=50)


@cache
def mlp(activation: str = "relu") -> NetworkSpec:
    return spec_of(create_network("mlp", hidden=(20, 16), activation=activation), (1, 8, 8))


@cache
def resnet() -> NetworkSpec:
    options = {"channels_in": 1, "image_size": 8, "widths": (6, 8)}
    return spec_of(create_network("resnet_small", **options), (1, 8, 8))


def networks(spec: NetworkSpec, count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = 0.3 * torch.randn(count, spec.params, generator=generator)
    for tensor, start in zip(spec.tensors, spec.offsets, strict=True):
        if tensor.role in ("norm_scale", "running_var"):
            values[:, start : start + tensor.size] = values[:, start : start + tensor.size].abs() + 0.5
    return values


def drifted(values: torch.Tensor, size: float = 0.05, seed: int = 1) -> torch.Tensor:
    return (
        values
        + size
        * torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))
        * values.abs().mean()
    )
