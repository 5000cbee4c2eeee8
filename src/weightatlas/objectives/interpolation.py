"""Interpolation loss: what a code between two codes must stand for."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Codes = Float[Tensor, "networks codes width"]


@dataclass(frozen=True, slots=True)
class Between:
    """Codes asked for between the networks of a batch, and how they must answer.

    Args:
        partner: Row at the other end of each path; row i of the batch is the first.
        gamma: Place on the path, 0 at row i, 1 at its partner.
        targets: Outputs to imitate there, shape `(networks, queries, classes)`.
    """

    partner: Int[Tensor, " networks"]
    gamma: Float[Tensor, " networks"]
    targets: Float[Tensor, "networks queries classes"]


def gammas(classes: int) -> Float[Tensor, " between"]:
    """Places at which the architectures between the smallest and the largest are asked for.

    Example:
        >>> gammas(4)
        tensor([0.3333, 0.6667])
    """
    return torch.arange(1, max(classes - 1, 1)) / max(classes - 1, 1)


def boundary_pairs(
    rungs: Int[Tensor, " networks"], classes: int, most: int | None = None
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """List pairs of a smallest and a largest network of a batch, each network in as few pairs as possible.

    Example:
        >>> boundary_pairs(torch.tensor([0, 3, 1, 0]), 4)
        (tensor([0, 3]), tensor([1, 1]))

    Args:
        rungs: Place of each network on the ladder.
        classes: Places of the ladder.
        most: Pairs at most; as many as there are otherwise.

    Returns:
        Rows of the smallest networks and rows of the largest.
    """
    small, large = (rungs == 0).nonzero().flatten(), (rungs == classes - 1).nonzero().flatten()
    if classes < 3:
        return small[:0], large[:0]
    count = len(small) * len(large)
    index = torch.arange(count if most is None else min(most, count), device=rungs.device)
    if not len(index):
        return small[:0], large[:0]
    # Going along the diagonals uses every network once before any is used twice.
    turn = index // torch.lcm(torch.tensor(len(small)), torch.tensor(len(large))).to(index)
    return small[index % len(small)], large[(index + turn) % len(large)]


def ladder_codes(
    codes: Codes, pairs: tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]], classes: int
) -> tuple[Float[Tensor, "between codes width"], Int[Tensor, " between"]]:
    """Codes at `(1 - gamma) small + gamma large`, gamma = i / (A - 1), that must stand for architecture i.

    Berardi et al. (2022), the interpolation loss for boundary architectures.

    Args:
        codes: Codes of a batch.
        pairs: Rows of smallest and largest networks.
        classes: Places of the ladder, A.

    Returns:
        Interpolated codes, pair by pair, and their places on the ladder.
    """
    at = gammas(classes).to(codes)[None, :, None, None]
    small, large = (codes[rows][:, None] for rows in pairs)
    between = torch.lerp(small, large, at)
    rungs = torch.arange(1, classes - 1, device=codes.device).repeat(len(pairs[0]))
    return between.flatten(0, 1), rungs


def nearest_by_score(
    wanted: Float[Tensor, " networks"], scores: Float[Tensor, " others"]
) -> Int[Tensor, " networks"]:
    """Find for each wanted score the network that comes closest to it."""
    return (wanted[:, None] - scores[None]).abs().argmin(1)
