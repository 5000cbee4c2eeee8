"""Sign flips (tanh, sine) and positive scaling (ReLU): hidden units times s, what reads them divided by s."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import SpecError
from weightatlas.symmetry.scalings import Scaling, Use, scalings_of
from weightatlas.weights.spec import NetworkSpec


def rescale(
    values: Float[Tensor, "networks params"],
    factors: Sequence[Float[Tensor, "networks _"]],
    spec: NetworkSpec,
    scalings: Sequence[Scaling] | None = None,
) -> Float[Tensor, "networks params"]:
    """Multiply hidden units by factors and divide what reads them: the function stays the same.

    Args:
        values: Networks as rows.
        factors: One tensor `(networks, members)` per scaling.
        spec: Their layout.
        scalings: Which units the factors belong to; those that keep the function by default.

    Raises:
        SpecError: The factors do not fit the scalings.
    """
    scalings = scalings_of(spec) if scalings is None else scalings
    wanted = [(len(values), scaling.members) for scaling in scalings]
    found = [tuple(factor.shape) for factor in factors]
    if found != wanted:
        raise SpecError(f"Factors of shapes {found} do not fit scalings of shapes {wanted}.")
    result = values.clone()
    for scaling, factor in zip(scalings, factors, strict=True):
        _apply(result, scaling, factor, spec)
    return result


def sample_factors(
    spec: NetworkSpec, count: int, generator: torch.Generator | None = None, spread: float = 1.0
) -> list[Float[Tensor, "networks _"]]:
    """Draw random factors: log-normal where scaling is allowed, random signs where flips are.

    Args:
        spec: Whose scalings.
        count: How many networks.
        generator: Source of randomness.
        spread: Standard deviation of the logarithm.
    """
    factors = []
    for scaling in scalings_of(spec):
        shape = (count, scaling.members)
        drawn = (spread * torch.randn(shape, generator=generator)).exp()
        signs = torch.randint(2, shape, generator=generator).float() * 2 - 1
        factors.append((drawn if scaling.scale else 1.0) * (signs if scaling.flip else torch.ones(shape)))
    return factors


def balance(
    values: Float[Tensor, "networks params"],
    spec: NetworkSpec,
    scalings: Sequence[Scaling] | None = None,
) -> tuple[Float[Tensor, "networks params"], list[Float[Tensor, "networks _"]]]:
    """Give every unit that may be scaled incoming weights of norm one.

    Networks that differ by positive scaling alone become equal: norms are taken over weights whose own inputs
    are balanced already (in a residual stream, those that start it). Units without such weights stay.

    Args:
        values: Networks as rows.
        spec: Their layout.
        scalings: Which units to balance; those that keep the function by default.

    Returns:
        The balanced networks, and the factors that were applied, for `rescale`.
    """
    result, factors = values.clone(), []
    scalings = scalings_of(spec) if scalings is None else scalings
    waiting = {use.tensor for scaling in scalings for use in scaling.uses if use.power < 0}
    for scaling in scalings:
        squares = torch.zeros(len(values), scaling.members, dtype=values.dtype, device=values.device)
        ready = [use for use in scaling.uses if use.power > 0 and use.tensor not in waiting]
        for use in ready or [use for use in scaling.uses if use.power > 0]:
            squares += _members_first(result, use, scaling.members, spec).square().sum(dim=2)
        ones = torch.ones_like(squares)
        factor = torch.where(squares > 0, squares.clamp_min(1e-30).rsqrt(), ones) if scaling.scale else ones
        _apply(result, scaling, factor, spec)
        factors.append(factor)
        waiting -= {use.tensor for use in scaling.uses if use.power < 0}
    return result, factors


def _members_first(values: Tensor, use: Use, members: int, spec: NetworkSpec) -> Float[Tensor, "n m rest"]:
    """View a tensor of all networks as `(networks, members, everything else)`; copies if it must."""
    start, tensor = spec.offsets[use.tensor], spec.tensors[use.tensor]
    block = values[:, start : start + tensor.size].reshape(len(values), *tensor.shape)
    return block.movedim(use.axis + 1, 1).reshape(len(values), members, -1)


def _apply(values: Tensor, scaling: Scaling, factor: Tensor, spec: NetworkSpec) -> None:
    """Scale the numbers a scaling touches, in place."""
    for use in scaling.uses:
        start, tensor = spec.offsets[use.tensor], spec.tensors[use.tensor]
        block = values[:, start : start + tensor.size]
        times = factor.to(values) ** use.power
        times = times.repeat_interleave(tensor.shape[use.axis] // scaling.members, dim=1)
        shape = [len(values), *(1 for _ in tensor.shape)]
        shape[use.axis + 1] = -1
        block.copy_((block.reshape(len(values), *tensor.shape) * times.view(shape)).flatten(1))
