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

    Numbers of trained layers vary from neuron to neuron and network to network like draws of a bell curve:
    the larger half holds nine tenths of the energy, whichever half that is. Leaving out the same
    coordinates everywhere keeps only what these hold on average.

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
    sizes = [place.stop - place.start for place in places]
    numbers, free = sum(sizes), sum(sizes[whole:])
    left = budget - words_of_marks(numbers) - (numbers - free)
    if left < len(sizes[whole:]):
        raise ConfigError(
            f"{budget} numbers do not pay for keeping some of {numbers} and for saying which.",
            todo="Lower the ratio.",
        )
    share = min(left / max(free, 1), 1.0)
    counts = [size if part < whole else max(int(size * share), 1) for part, size in enumerate(sizes)]
    return torch.tensor(counts).repeat_interleave(torch.tensor(sizes))


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
    kept = even_kept(places, whole, budget)
    numbers, free = len(unit), places[whole:]
    start = free[0].start if free else numbers
    left = budget - words_of_marks(numbers) - start
    size = (codes / unit).abs()
    if not free or left >= numbers - start:
        return kept
    threshold = size[:, start:].flatten().sort(descending=True).values[left * len(codes)]
    above = (size > threshold).sum(0)
    for place in free:
        kept[place] = max(int(above[place].sum()) // len(codes), 1)
    return kept
