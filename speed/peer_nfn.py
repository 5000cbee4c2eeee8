"""The network of Zhou et al. (2023) for the small-CNN zoo, put together from the package `nfn` (PyPI)."""

from typing import Any

import torch
from torch import Tensor, nn

# Weights and biases of the 4,970-parameter CNN.
SHAPES = (((16, 1, 3, 3), 16), ((16, 16, 3, 3), 16), ((16, 16, 3, 3), 16), ((10, 16), 10))


def available() -> bool:
    """Tell whether the package is installed beside weightatlas."""
    try:
        import nfn.layers  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    return True


def features(values: Tensor) -> Any:
    """Cut flat networks into the package's own container.

    Args:
        values: Networks as rows, weight and bias of each layer in turn.
    """
    from nfn.common import WeightSpaceFeatures  # pyright: ignore[reportMissingImports]

    weights, biases, start = [], [], 0
    for shape, neurons in SHAPES:
        size = torch.Size(shape).numel()
        weights.append(values[:, start : start + size].reshape(-1, 1, *shape))
        biases.append(values[:, start + size : start + size + neurons].reshape(-1, 1, neurons))
        start += size + neurons
    return WeightSpaceFeatures(weights, biases)


class Peer(nn.Module):
    """Three equivariant layers of 16, 16 and 5 channels, pooling, the head 1000-1000-1.

    Args:
        name: "nfn_np" or "nfn_hnp".
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        from nfn import layers  # pyright: ignore[reportMissingImports]
        from nfn.common import network_spec_from_wsfeat  # pyright: ignore[reportMissingImports]

        spec = network_spec_from_wsfeat(features(torch.zeros(2, 4970)))
        kind = layers.HNPLinear if name == "nfn_hnp" else layers.NPLinear
        more = {} if name == "nfn_hnp" else {"io_embed": True}
        parts = []
        for before, after in ((1, 16), (16, 16), (16, 5)):
            parts += [kind(spec, before, after, **more), layers.TupleOp(nn.ReLU())]
        pool = layers.HNPPool(spec)
        head = [nn.Linear(250, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 1)]
        self.layers = nn.Sequential(*parts, pool, nn.Flatten(-2), *head)

    def forward(self, values: Tensor) -> Tensor:
        """Predict one number per network."""
        return self.layers(features(values))
