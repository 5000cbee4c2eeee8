"""One thing that is wrong, or worth knowing, about a tensor of a network."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "not finite",
    "zero layer",
    "dead units",
    "unused units",
    "untrained",
    "rank collapse",
    "exploding",
    "duplicate",
]
WHOLE = "all weights"
"""Stands for a tensor where a finding is about the whole network."""


@dataclass(frozen=True)
class Finding:
    """Something wrong, or worth knowing, about one tensor of one network.

    Args:
        network: Its row.
        tensor: Name of the tensor; several are joined by " = ".
        kind: What it is.
        severity: "error" (the network cannot work), "warning", or "note".
        text: One sentence with the numbers.
    """

    network: int
    tensor: str
    kind: Kind
    severity: Literal["error", "warning", "note"]
    text: str

    def __str__(self) -> str:
        return f"{self.tensor}: {self.text}"
