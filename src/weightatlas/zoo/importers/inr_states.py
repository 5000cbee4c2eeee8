"""Published SIRENs: state dicts of dense layers -> the library's `siren`."""

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor

from weightatlas.errors import SpecError
from weightatlas.zoo.importers.registry import Architecture, known_architecture


def siren_of(state: Mapping[str, Tensor], omega: float, shift: float) -> Architecture:
    """Find the sizes of a SIREN from its weights.

    Args:
        state: Weight, bias, weight, bias, ... in order.
        omega: Frequency of its sines, which stands outside the weights.
        shift: What it adds to its outputs.

    Raises:
        SpecError: The tensors are no chain of dense layers with biases.
    """
    tensors = list(state.values())
    weights, biases = tensors[0::2], tensors[1::2]
    chained = len(weights) == len(biases) >= 2 and all(w.ndim == 2 for w in weights)
    chained = chained and all(w.shape[:1] == b.shape for w, b in zip(weights, biases, strict=True))
    chained = chained and all(a.shape[0] == b.shape[1] for a, b in pairwise(weights))
    if not chained:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors[:6])
        raise SpecError(f"Tensors of shapes {shapes} are no chain of dense layers with biases.")
    hidden = [w.shape[0] for w in weights[:-1]]
    options = {"coordinates": weights[0].shape[1], "outputs": weights[-1].shape[0], "hidden": hidden}
    return known_architecture("siren", **options, omega=omega, **({"shift": shift} if shift else {}))
