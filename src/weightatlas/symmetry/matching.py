"""Git Re-Basin weight matching: permute networks to lie as close to a reference as possible."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError, SpecError
from weightatlas.runtime import numpy_generator_of
from weightatlas.symmetry.permutation import (
    Permutations,
    identity,
    parts_of,
    permute,
    permute_tensor,
    uses_of,
)
from weightatlas.weights.spec import NetworkSpec

_GAIN = 1e-12  # smallest increase of the inner product that counts as an improvement
_CHUNK = 1 << 22  # numbers, weights or gains, of one chunk of networks, held in float64


def match(
    values: Float[Tensor, "networks params"],
    reference: Float[Tensor, "*networks params"],
    spec: NetworkSpec,
    seed: int = 0,
    sweeps: int = 100,
) -> Permutations:
    """Find permutations that maximize each network's inner product with a reference, or with one of its own.

    Coordinate ascent over the groups in seeded order (weight matching of Git Re-Basin, Ainsworth et
    al., 2023, algorithm 1), started from a pass from input to output. For one group the gain is the
    sum over every tensor axis it touches; the assignment is solved exactly. A network stops after a
    sweep without improvement and never gets worse. Its result does not depend on the other networks.

    Args:
        values: Networks as rows.
        reference: One network of the same spec for all, or as many as there are networks.
        spec: Their layout.
        seed: Seed of the order of the groups.
        sweeps: Largest number of passes over the groups.

    Returns:
        One tensor `(networks, members)` per group, for `permute`.

    Raises:
        SpecError: Networks and reference do not fit the spec.
        DataError: A network or the reference is not finite.
    """
    if values.shape[1] != spec.params or reference.shape[-1] != spec.params:
        raise SpecError(
            f"Networks have {values.shape[1]} numbers and the reference {reference.shape[-1]}, "
            f"the spec says {spec.params}."
        )
    if reference.ndim > 1 and len(reference) != len(values):
        raise SpecError(f"{len(values)} networks need one reference or as many, not {len(reference)}.")
    bad = (~torch.isfinite(values).all(dim=1)).nonzero().flatten().tolist()
    if bad or not torch.isfinite(reference).all():
        rows = f"Networks {bad[:5]}" if bad else "The reference"
        raise DataError(f"{rows} of {values.shape[0]} hold NaN or infinite values.", todo="Leave them out.")
    # A wide layer of few weights has far more gains than weights.
    step = max(1, _CHUNK // max(spec.params, *(size**2 for size in spec.groups), 1))
    chunks = [
        _match_chunk(values[rows].double(), _of_rows(reference, rows).double(), spec, seed, sweeps)
        for rows in (slice(i, i + step) for i in range(0, values.shape[0], step))
    ]
    if len(chunks) == 1:
        return chunks[0]
    return tuple(torch.cat(group) for group in zip(*chunks, strict=True)) or identity(spec, 0)


def canonical(
    values: Float[Tensor, "networks params"],
    reference: Float[Tensor, "*networks params"],
    spec: NetworkSpec,
    seed: int = 0,
) -> Float[Tensor, "networks params"]:
    """Permute networks to their canonical view: matched to a reference, or each to one of its own.

    Args:
        values: Networks as rows.
        reference: One network of the same spec for all, or as many as there are networks.
        spec: Their layout.
        seed: Seed of the order of the groups.
    """
    return permute(values, match(values, reference, spec, seed), spec)


@dataclass
class _State:
    """Networks that are still being matched.

    Args:
        values: Networks as rows, in float64.
        reference: The reference, or one for each, in float64.
        perms: Best permutations so far.
    """

    values: Float[Tensor, "networks params"]
    reference: Float[Tensor, "*networks params"]
    spec: NetworkSpec
    perms: list[Tensor] = field(default_factory=list)


def _match_chunk(
    values: Tensor, reference: Tensor, spec: NetworkSpec, seed: int, sweeps: int
) -> Permutations:
    """Match a few networks; those that stopped improving leave the work."""
    best = _start(values, reference, spec)
    rows = torch.arange(values.shape[0], device=values.device)
    order = numpy_generator_of("matching", seed)
    for _ in range(sweeps):
        state = _State(values[rows], _of_rows(reference, rows), spec, [perm[rows] for perm in best])
        improved = torch.zeros(len(rows), dtype=torch.bool, device=values.device)
        for group in order.permutation(len(spec.groups)).tolist():
            improved |= _improve(state, group)
        for perm, found in zip(best, state.perms, strict=True):
            perm[rows] = found
        rows = rows[improved]
        if len(rows) == 0:
            break
    return tuple(best)


def _start(values: Tensor, reference: Tensor, spec: NetworkSpec) -> list[Tensor]:
    """Match group by group from the input on; where that is worse than no permutation, move nothing.

    A group only looks at tensors whose other groups are already matched. A permuted copy of the
    reference is recovered here; ascent from the identity alone can end in a local optimum.
    """
    unmoved = identity(spec, values.shape[0], values.device)
    state = _State(values, reference, spec, list(unmoved))
    for group in range(len(spec.groups)):
        gains = _no_gains(state, group)
        for tensor, axis in uses_of(spec, group):
            others = [old for other, old in enumerate(spec.tensors[tensor].axes) if other != axis]
            found = [segment.group for old in others for segment in old if segment.group is not None]
            if all(other < group for other in found):
                _add_gains(gains, state, group, tensor, axis)
        state.perms[group] = _assign(gains)
    better = _products(permute(values, tuple(state.perms), spec), reference) > _products(values, reference)
    return [torch.where(better[:, None], found, old) for found, old in zip(state.perms, unmoved, strict=True)]


def _no_gains(state: _State, group: int) -> Tensor:
    """Make an empty matrix of gains per network."""
    size = state.spec.groups[group]
    return torch.zeros(len(state.values), size, size, dtype=torch.float64, device=state.values.device)


def _improve(state: _State, group: int) -> Tensor:
    """Reassign one group's members in every network; tell which networks improved."""
    uses = uses_of(state.spec, group)
    gains = _no_gains(state, group)
    for tensor, axis in uses:
        _add_gains(gains, state, group, tensor, axis)
    proposal = _assign(gains)
    current = state.perms[group]
    quadratic = {tensor for tensor, _ in uses if sum(other == tensor for other, _ in uses) > 1}
    if quadratic:
        change = _inner(state, group, proposal, uses) - _inner(state, group, current, uses)
    else:
        change = _trace(gains, proposal) - _trace(gains, current)
    better = change > _GAIN
    state.perms[group] = torch.where(better[:, None], proposal, current)
    return better


def _add_gains(gains: Tensor, state: _State, group: int, tensor: int, axis: int) -> None:
    """Add what one tensor axis says: `gains[m, i, j]` is the use of member j in place i."""
    part = parts_of(state.spec)[tensor]
    own = permute_tensor(state.values[:, part.start : part.stop], part, tuple(state.perms), skip=axis)
    own = own.movedim(axis + 1, 1)
    goal = state.reference[..., part.start : part.stop].unflatten(-1, part.shape)
    lead = goal.ndim - len(part.shape)
    goal = goal.movedim(lead + axis, lead)
    start = 0
    for segment in part.axes[axis]:
        if segment.group == group:
            block = slice(start, start + segment.size)
            target = goal.narrow(lead, start, segment.size).flatten(lead).unflatten(-1, (segment.members, -1))
            source = own[:, block].reshape(len(own), segment.members, -1)
            gains += target @ source.transpose(1, 2)
        start += segment.size


def _assign(gains: Float[Tensor, "networks n n"]) -> Tensor:
    """Solve one assignment problem per network."""
    from scipy.optimize import linear_sum_assignment

    solved = [torch.from_numpy(linear_sum_assignment(g, maximize=True)[1]) for g in gains.cpu().numpy()]
    return torch.stack(solved).to(gains.device)


def _trace(gains: Tensor, perm: Tensor) -> Tensor:
    """Sum the gains of an assignment."""
    return gains.gather(2, perm[:, :, None]).sum(dim=(1, 2))


def _inner(state: _State, group: int, perm: Tensor, uses: list[tuple[int, int]]) -> Tensor:
    """Compute the inner product with the reference over the tensors a group touches."""
    perms = (*state.perms[:group], perm, *state.perms[group + 1 :])
    total = torch.zeros(len(state.values), dtype=torch.float64, device=state.values.device)
    for tensor in sorted({tensor for tensor, _ in uses}):
        part = parts_of(state.spec)[tensor]
        own = permute_tensor(state.values[:, part.start : part.stop], part, perms)
        total += _products(own.flatten(1), state.reference[..., part.start : part.stop])
    return total


def _of_rows(reference: Tensor, rows: slice | Tensor) -> Tensor:
    """The references of some networks: the one for all, or their own."""
    return reference if reference.ndim == 1 else reference[rows]


def _products(values: Tensor, reference: Tensor) -> Tensor:
    """Inner product of every network with the reference, or with its own."""
    return values @ reference if reference.ndim == 1 else (values * reference).sum(1)
