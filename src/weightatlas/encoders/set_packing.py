"""Sets of different sizes through one encoder: packed by size, in passes of bounded memory."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

EXACT = 8


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is held at once.

    Args:
        items: Items of one pass.
        keep: Items up to which activations are kept for the backward pass; of more, passes are computed
            again.
    """

    items: int
    keep: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """Sets that are padded to one size.

    Args:
        sets: Their numbers.
        index: Items of each set, 0 where there is none.
        mask: True where there is one; none if no set is padded.
    """

    sets: Int[Tensor, " sets"]
    index: Int[Tensor, "sets size"]
    mask: Bool[Tensor, "sets size"] | None


def sizes_of(counts: Int[Tensor, " sets"]) -> Int[Tensor, " sets"]:
    """Size to which each set is padded: its own if few sizes occur, else the next 2^k or 3 * 2^k.

    Example:
        >>> sizes_of(torch.tensor([5, 7, 7])).tolist()
        [5, 7, 7]
        >>> sizes_of(torch.arange(1, 14)).tolist()
        [1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16]
    """
    if len(counts) == 0 or len(torch.unique(counts)) <= EXACT:
        return counts
    power = 2 ** torch.arange(41, device=counts.device)
    grid = torch.cat([power, 3 * power]).sort().values
    return grid[torch.searchsorted(grid, counts.contiguous())]


def pack(sets: Int[Tensor, " items"], count: int) -> list[Bucket]:
    """Sort items into sets and sets into buckets of equal size; no loop over sets.

    Args:
        sets: Set of each item; every set has at least one.
        count: How many sets there are.
    """
    counts = torch.bincount(sets, minlength=count)
    order = sets.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    padded = sizes_of(counts)
    found = []
    for size in torch.unique(padded).tolist():
        chosen = (padded == size).nonzero().squeeze(1)
        place = torch.arange(size, device=sets.device)
        mask = place < counts[chosen, None]
        index = order[(starts[chosen, None] + place).clamp(max=len(sets) - 1)]
        full = bool(mask.all())
        found.append(Bucket(chosen, index, None if full else mask))
    return found


def unpacked(parts: list[Tensor], buckets: list[Bucket]) -> Tensor:
    """Put results of buckets into the order of the sets."""
    return torch.cat(parts)[torch.cat([bucket.sets for bucket in buckets]).argsort()]


def encode_sets(
    encoder: Callable[..., Tensor],
    items: Float[Tensor, "items dim"],
    sets: Int[Tensor, " items"],
    count: int,
    budget: Budget,
    positions: Float[Tensor, "items dim"] | None = None,
) -> Float[Tensor, "{count} width"]:
    """Describe every set by one vector.

    Args:
        encoder: What describes a set.
        items: All items of all sets.
        sets: Set of each item.
        count: How many sets there are.
        budget: Memory.
        positions: Added to the items inside the encoder.
    """
    buckets = pack(sets, count)
    again = len(items) > budget.keep
    parts = []
    for bucket in buckets:

        def work(rows: slice, bucket: Bucket = bucket) -> Tensor:
            index = bucket.index[rows]
            mask = None if bucket.mask is None else bucket.mask[rows]
            return encoder(items[index], mask, None if positions is None else positions[index])

        parts.append(in_passes(work, *bucket.index.shape, budget=budget, again=again))
    return unpacked(parts, buckets)


def in_passes(
    work: Callable[[slice], Tensor], sets: int, size: int, *, budget: Budget, again: bool
) -> Tensor:
    """Run some work over slices of sets that fit the budget, and join the results.

    Args:
        work: From a slice of sets to their results.
        sets: How many sets there are.
        size: Items per set.
        budget: Memory.
        again: Forget the activations of each pass and compute them again for gradients.
    """
    step = max(1, budget.items // size)
    slices = [slice(start, start + step) for start in range(0, sets, step)]
    if again and torch.is_grad_enabled():
        return torch.cat([_forgetful(work, rows) for rows in slices])
    return torch.cat([work(rows) for rows in slices])


def _forgetful(work: Callable[[slice], Tensor], rows: slice) -> Tensor:
    result = checkpoint(work, rows, use_reentrant=False, preserve_rng_state=False)
    assert isinstance(result, Tensor)
    return result
