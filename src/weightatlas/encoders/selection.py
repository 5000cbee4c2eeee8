"""Which numbers of a code are kept: the largest of each network, told by one bit each."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import ConfigError

WORD = 32  # bits of a number, and marks that take the room of one


@dataclass(frozen=True, slots=True)
class Selection:
    """Keeps the largest numbers of every part of a code and sets the others to zero.

    If numbers vary from neuron to neuron and network to network like draws of a bell curve, their larger half
    holds nine tenths of the energy, whichever half that is. Leaving out the same coordinates everywhere
    keeps only what these hold on average.

    Args:
        unit: Numbers are compared in this unit.
        kept: For every number, how many of its part are kept.
    """

    unit: Float[Tensor, " numbers"]
    kept: Int[Tensor, " numbers"]

    def apply(
        self, codes: Float[Tensor, "networks numbers"], place: slice = slice(None)
    ) -> Float[Tensor, "networks numbers"]:
        """Keep the largest numbers of one part of some codes.

        Example:
            >>> keep_one = Selection(torch.tensor([1.0, 10.0]), torch.tensor([1, 1]))
            >>> keep_one.apply(torch.tensor([[2.0, 3.0], [0.1, -3.0]])).tolist()
            [[2.0, 0.0], [0.0, -3.0]]
        """
        size = (codes.abs() / self.unit[place]).topk(int(self.kept[place][0]), dim=1)
        return torch.zeros_like(codes).scatter(1, size.indices, codes.gather(1, size.indices))


def words_of_marks(numbers: int) -> int:
    """Numbers whose room the marks take, one bit for each number of the whole code.

    Example:
        >>> words_of_marks(2758)
        87
    """
    return -(-numbers // WORD)


def even_kept(places: list[slice], whole: int, budget: int) -> Int[Tensor, " numbers"]:
    """Share what a code may keep evenly: the same share of every part.

    Example:
        >>> even_kept([slice(0, 2), slice(2, 12), slice(12, 42)], whole=1, budget=24).unique().tolist()
        [2, 5, 15]

    Args:
        places: The parts of a code.
        whole: So many parts, from the first, are kept as they are.
        budget: Numbers to keep and marks that say which, at most.

    Returns:
        For every number, how many of its part are kept.

    Raises:
        ConfigError: The budget does not pay for the marks and one number of every part.
    """
    sizes, left = _sizes(places), _left(places, whole, budget)
    share = min(left / max(sum(sizes[whole:]), 1), 1.0)
    counts = _within([max(int(size * share), 1) for size in sizes[whole:]], left)
    return torch.tensor([*sizes[:whole], *counts]).repeat_interleave(torch.tensor(sizes))


def share_kept(
    codes: Float[Tensor, "networks numbers"],
    unit: Float[Tensor, " numbers"],
    places: list[slice],
    whole: int,
    budget: int,
) -> Int[Tensor, " numbers"]:
    """Share what a code may keep by one threshold for all parts, which training networks set.

    Args:
        codes: Whole codes of training networks.
        unit: Numbers are compared in this unit.
        places: The parts of a code.
        whole: So many parts, from the first, are kept as they are.
        budget: Numbers to keep and marks that say which, at most.

    Returns:
        For every number, how many of its part are kept.

    Raises:
        ConfigError: The budget does not pay for the marks and one number of every part.
    """
    sizes, left = _sizes(places), _left(places, whole, budget)
    start, size = sum(sizes[:whole]), (codes / unit).abs()
    if left >= len(unit) - start:
        return even_kept(places, whole, budget)
    threshold = size[:, start:].flatten().sort(descending=True).values[left * len(codes)]
    above = (size > threshold).sum(0)
    counts = [max(int(above[place].sum()) // len(codes), 1) for place in places[whole:]]
    counts = [*sizes[:whole], *_within(counts, left)]
    return torch.tensor(counts).repeat_interleave(torch.tensor(sizes)).to(codes.device)


def _sizes(places: list[slice]) -> list[int]:
    return [place.stop - place.start for place in places]


def _left(places: list[slice], whole: int, budget: int) -> int:
    """Numbers to share among the parts that are not kept whole, once marks are paid."""
    sizes = _sizes(places)
    left = budget - words_of_marks(sum(sizes)) - sum(sizes[:whole])
    if left < len(sizes[whole:]):
        raise ConfigError(
            f"{budget} numbers do not pay for keeping some of {sum(sizes)} and for saying which.",
            todo="Lower the ratio.",
        )
    return left


def _within(counts: list[int], most: int) -> list[int]:
    """Take from the largest counts what small parts, which keep at least one number, have too much."""
    while sum(counts) > most:
        counts[counts.index(max(counts))] -= 1
    return counts
