"""Per-layer standardization, fitted on training rows only, invertible."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.weights.spec import NetworkSpec


@dataclass(frozen=True, eq=False, slots=True)
class LayerScaling:
    """Mean and standard deviation per layer, spread out over the parameters.

    One pair serves a whole layer (weights and biases apart), so scaling commutes with
    permuting neurons.

    Args:
        mean: Shape `(params,)`.
        std: Shape `(params,)`; never below the floor it was fitted with.
    """

    mean: Float[Tensor, " params"]
    std: Float[Tensor, " params"]

    def apply(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks params"]:
        """Bring weights to zero mean and unit variance per layer."""
        return (values - self.mean) / self.std

    def invert(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks params"]:
        """Bring standardized weights back to their own units."""
        return values * self.std + self.mean


def scale_groups(spec: NetworkSpec) -> Int[Tensor, " params"]:
    """Number the scaling group of every parameter: one per tensor.

    A tensor lies within one layer and one role and is closed under every permutation of
    the spec, so a constant per tensor commutes with all of them.
    """
    return torch.cat([torch.full((t.size,), i) for i, t in enumerate(spec.tensors)])


def fit_scaling(
    values: Float[Tensor, "networks params"], spec: NetworkSpec, floor: float = 1e-4
) -> LayerScaling:
    """Fit mean and standard deviation of every tensor over the training networks.

    Unlike the released SANE code, which averages per-network variances, the spread between
    networks counts: two networks with different constant layers must not collapse to zero.

    Args:
        values: Training networks as rows.
        spec: Their layout.
        floor: Smallest standard deviation, for tensors that never change.

    Raises:
        DataError: There is no network, or a value is not finite.
    """
    if len(values) == 0:
        raise DataError("Scaling needs at least one training network, got none.")
    mean = torch.empty(spec.params, dtype=values.dtype, device=values.device)
    std = torch.empty_like(mean)
    for part in spec.slices.values():
        block = values[:, part].double()
        mean[part] = block.mean().to(values.dtype)
        std[part] = block.std(correction=0).clamp(min=floor).to(values.dtype)
    if not torch.isfinite(mean + std).all():
        bad = [name for name, part in spec.slices.items() if not torch.isfinite(values[:, part]).all()]
        raise DataError(
            f"Training networks hold NaN or infinite values in {', '.join(bad)}.",
            todo="Leave diverged networks out: zoo.filter(finite=True).",
        )
    return LayerScaling(mean, std)
