"""What a grader on disk refers to: the predictor it was made for, and the code of registered networks."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from weightatlas.errors import WeightAtlasError
from weightatlas.networks import create_network
from weightatlas.symmetry.verify import spec_of


class Binding(Protocol):
    """What is needed of a grader."""

    tensors: dict[str, Tensor]

    def bind(self, network: nn.Module, inputs: Tensor | None = None) -> Any: ...


def mark_of(folder: str | Path) -> str:
    """Name the predictor in a folder by its numbers; empty if there is none."""
    path = Path(folder) / "predictor.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def bind_registered(grader: Binding, function: str, known: Mapping[str, Any]) -> bool:
    """Give a grader the code of a network of the registry, if it still computes the same function.

    Args:
        grader: One that was read back, with its inputs.
        function: Function id of the network.
        known: Its name in the registry and its options.

    Returns:
        Whether the code was bound.
    """
    if "inputs" not in grader.tensors:
        return False
    try:
        network = create_network(known["name"], **known["options"])
        found = spec_of(network, tuple(grader.tensors["inputs"].shape[1:]))
    except (WeightAtlasError, KeyError):
        return False
    if found.function_id != function:
        return False
    grader.bind(network)
    return True
