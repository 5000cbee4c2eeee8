"""How much more alike paired units are than unpaired ones, in the stored order and after matching."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.relate.align import Aligned, Slab, align, flipped, slab, slabs_of
from weightatlas.relate.tensorwise import smooth
from weightatlas.runtime import generator_of
from weightatlas.symmetry.permutation import Permutations, permute
from weightatlas.weights.spec import NetworkSpec

_EQUAL = 1e-5  # how far from one cosines of equal units may be in float32


@dataclass(frozen=True)
class Evidence:
    """What units say about the kinship of a reference with each of several networks.

    Args:
        stored: Standardized likeness of units in the stored order: standard normal for strangers.
        matched: Mean cosine of paired units after matching, less that of unpaired ones.
        control: The same for strangers made of the network's own weights, put through the same matching.
        aligned: The matched networks.
    """

    stored: Float[Tensor, " networks"]
    matched: Float[Tensor, " networks"]
    control: Float[Tensor, " networks"]
    aligned: Aligned


@lru_cache(maxsize=256)
def incoming(spec: NetworkSpec) -> tuple[tuple[Slab, ...], ...]:
    """List per group the weights its units read: rows of layers, columns of embeddings."""
    found = []
    for slabs in slabs_of(spec):
        roles = [(where, spec.tensors[where.tensor].role) for where in slabs]
        found.append(tuple(w for w, role in roles if w.axis == (1 if role == "embedding" else 0)))
    return tuple(found)


def units(
    values: Float[Tensor, "networks params"], spec: NetworkSpec, where: Slab
) -> Float[Tensor, "networks n rest"]:
    """What each unit of a tensor reads, scaled to norm one."""
    return torch.nn.functional.normalize(slab(values, spec, where), dim=2)


def stored_order(
    values: Float[Tensor, "networks params"], reference: Float[Tensor, " params"], spec: NetworkSpec
) -> Float[Tensor, " networks"]:
    """Test whether equal places hold equal units.

    The units of a network that was trained from independent random weights may be renumbered without changing
    how likely it is. So for strangers the sum of paired cosines is distributed as under a random
    renumbering, whatever data and recipe they share; its mean and variance under all renumberings of
    a group are known exactly (Hoeffding, 1951). Groups are standardized and joined.

    Args:
        values: Networks as rows.
        reference: One network.
        spec: Their layout.
    """
    total, count = torch.zeros(len(values), dtype=values.dtype), 0
    for slabs in incoming(spec):
        if not slabs or spec.tensors[slabs[0].tensor].shape[slabs[0].axis] < 2:
            continue
        first, second = (torch.cat([units(v, spec, w) for w in slabs], 2) for v in (reference[None], values))
        matrix = first @ second.transpose(1, 2)
        rows, columns = matrix.mean(dim=2, keepdim=True), matrix.mean(dim=1, keepdim=True)
        centered = matrix - rows - columns + matrix.mean(dim=(1, 2), keepdim=True)
        variance = centered.square().sum(dim=(1, 2)) / (matrix.shape[1] - 1)
        total += centered.diagonal(dim1=1, dim2=2).sum(dim=1) / variance.clamp_min(1e-20).sqrt()
        count += 1
    return total / max(count, 1) ** 0.5


def excess_cosine(
    values: Float[Tensor, "networks params"], reference: Float[Tensor, " params"], spec: NetworkSpec
) -> Float[Tensor, "networks layers"]:
    """Mean cosine of paired units less the mean over all pairs, a column per weight tensor."""
    found = []
    for where in (where for slabs in incoming(spec) for where in slabs):
        first, second = units(reference[None], spec, where), units(values, spec, where)
        paired = (first * second).sum(dim=2).mean(dim=1)
        found.append(paired - (first.mean(dim=1) * second.mean(dim=1)).sum(dim=1))
    return torch.stack(found, dim=1) if found else torch.zeros(len(values), 0, dtype=values.dtype)


@lru_cache(maxsize=256)
def information(spec: NetworkSpec) -> Float[Tensor, " layers"]:
    """Weigh each weight tensor by how sharply its cosines tell units apart: numbers read by all its units."""
    sizes = [spec.tensors[where.tensor].size for slabs in incoming(spec) for where in slabs]
    weights = torch.tensor(sizes, dtype=torch.float64)
    return weights / weights.sum().clamp_min(1)


def scrambled(
    values: Float[Tensor, "networks params"], spec: NetworkSpec, seed: int = 0
) -> Float[Tensor, "networks params"]:
    """Shuffle what every unit reads, each unit in its own way: strangers with the same numbers.

    Args:
        values: Networks as rows.
        spec: Their layout.
        seed: Seed of the order, the same for all networks.
    """
    result, generator = values.clone(), generator_of("scrambled", seed)
    for tensor, start in zip(spec.tensors, spec.offsets, strict=True):
        if tensor.role not in ("weight", "embedding"):
            continue
        axis = 1 if tensor.role == "embedding" else 0
        place = torch.arange(start, start + tensor.size).view(tensor.shape).movedim(axis, 0)
        place = place.reshape(tensor.shape[axis], -1)
        order = torch.rand(place.shape, generator=generator).argsort(dim=1)
        result[:, place.flatten()] = values[:, place.gather(1, order).flatten()]
    return result


def likeness(
    values: Float[Tensor, "networks params"], reference: Float[Tensor, " params"], spec: NetworkSpec
) -> Float[Tensor, " networks"]:
    """Excess cosine over all weight tensors, each weighed by its size.

    Args:
        values: Networks as rows, aligned.
        reference: One network.
        spec: Their layout.
    """
    return excess_cosine(values, reference, spec) @ information(spec).to(values)


def evidence(
    values: Float[Tensor, "networks params"],
    reference: Float[Tensor, " params"],
    spec: NetworkSpec,
    flips: NetworkSpec | None = None,
) -> Evidence:
    """Compare one network with several, in the stored order and after matching.

    Matching makes strangers alike too. How much is measured for each pair: the network's weights are
    scrambled and put through the same matching. What all networks have in the same places is left out:
    what units read of themselves, and tables of positions.

    Args:
        values: Bodies of canonical networks as rows.
        reference: The body of one canonical network.
        spec: Their layout.
        flips: The layout with a graph that says which signs are free.
    """
    own, bare = without_self(reference[None], spec)[0], without_self(values, spec)
    bare = _without_tables(bare, own, spec)
    both = align(torch.cat([bare, scrambled(bare, spec)]), own, spec, flips)
    aligned, strangers = both.rows(slice(len(values))), both.values[len(values) :]
    found = stored_order(bare, own, spec), likeness(aligned.values, own, spec), likeness(strangers, own, spec)
    if bare is not values:
        aligned.values = placed(values, aligned.perms, aligned.signs, spec)
    return Evidence(*found, aligned)


def placed(
    values: Float[Tensor, "networks params"],
    perms: Permutations,
    signs: tuple[Tensor, ...],
    spec: NetworkSpec,
) -> Float[Tensor, "networks params"]:
    """Permute networks, then flip signs.

    Args:
        values: Networks as rows.
        perms: One tensor per group; none leaves the order.
        signs: 1 or -1 per member, one tensor per group.
        spec: Their layout.
    """
    values = permute(values, perms, spec) if perms else values
    for group, sign in enumerate(signs):
        if bool((sign < 0).any()):
            values = flipped(values, spec, group, sign.to(values))
    return values


def without_self(
    values: Float[Tensor, "networks params"], spec: NetworkSpec
) -> Float[Tensor, "networks params"]:
    """Set to zero what units read of themselves: it stands in the same places of all networks.

    Args:
        values: Networks as rows.
        spec: Their layout.
    """
    places = _selves(spec)
    if not len(places):
        return values
    result = values.clone()
    result[:, places] = 0
    return result


@lru_cache(maxsize=256)
def _selves(spec: NetworkSpec) -> Int[Tensor, " places"]:
    """Diagonals of weights that read the group they write: residual layers without a layer inside."""
    found = [torch.zeros(0, dtype=torch.int64)]
    for tensor, start in zip(spec.tensors, spec.offsets, strict=True):
        if len(tensor.shape) < 2 or tensor.role != "weight" or tensor.axes[0] != tensor.axes[1]:
            continue
        if len(tensor.axes[0]) == 1 and tensor.axes[0][0].group is not None:
            places = torch.arange(start, start + tensor.size).view(tensor.shape)
            found.append(places.diagonal(dim1=0, dim2=1).flatten())
    return torch.cat(found)


def _without_tables(
    values: Float[Tensor, "networks params"], reference: Float[Tensor, " params"], spec: NetworkSpec
) -> Float[Tensor, "networks params"]:
    """Set to zero tables that are equal up to scales of units, as sines of positions: all have them."""
    result = values
    for where in (where for slabs in incoming(spec) for where in slabs):
        first, second = units(reference[None], spec, where), units(values, spec, where)
        equal = ((first * second).sum(dim=2) > 1 - _EQUAL).all(dim=1)
        if bool(equal.any()) and bool(smooth(first) | smooth(first.transpose(1, 2))):
            start = spec.offsets[where.tensor]
            result = values.clone() if result is values else result
            result[equal, start : start + spec.tensors[where.tensor].size] = 0
    return result
