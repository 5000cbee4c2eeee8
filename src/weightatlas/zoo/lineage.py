"""Which networks are relatives, and a split that keeps relatives together."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weightatlas.errors import ZooError
from weightatlas.zoo.header import Shares

PARTS = ("train", "val", "test")
MINIMUM = 10


def digest(*parts: Any) -> str:
    """Hash a few values to 16 hexadecimal digits, the same on every machine.

    Example:
        >>> digest("layout", "normal", 3) == digest("layout", "normal", 3)
        True
    """
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def split_of(lineages: Sequence[str], shares: Shares) -> list[str]:
    """Assign each lineage to a part by its hash alone.

    Example:
        >>> split_of(["a", "a", "b"], Shares())[0] == split_of(["c", "a"], Shares())[1]
        True

    Args:
        lineages: Lineage of each row.
        shares: Shares of train, val and test.
    """
    borders = np.cumsum([shares.train, shares.val])
    places = [int(digest("split", lineage), 16) / 2.0**64 for lineage in lineages]
    return [PARTS[int(np.searchsorted(borders, place, side="right"))] for place in places]


def check_lineages(lineages: np.ndarray) -> None:
    """Refuse to split a zoo with too few families.

    Raises:
        ZooError: There are fewer than ten lineages.
    """
    found = len(set(lineages.tolist()))
    if found < MINIMUM:
        raise ZooError(
            f"A split by lineage needs at least {MINIMUM} lineages, there are {found}.",
            todo="Add networks with other initializations, or ask for by='network': relatives then "
            "stand on both sides, and results look better than they are.",
        )


def root_of(name: str, parents: Mapping[str, str]) -> str:
    """Follow parents to the network a family starts with.

    Example:
        >>> root_of("pruned", {"pruned": "tuned", "tuned": "base"})
        'base'

    Raises:
        ZooError: The parents form a circle.
    """
    seen = [name]
    while name in parents:
        name = parents[name]
        if name in seen:
            raise ZooError(f"Parents form a circle: {' -> '.join([*seen, name])}.", todo="Correct `parent`.")
        seen.append(name)
    return name
