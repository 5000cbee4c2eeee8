"""The form in which networks are compared: batch norms folded, units balanced, heads cut."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.symmetry.scalings import Scaling, assumed_scalings, scalings_of
from weightatlas.symmetry.signs import balance
from weightatlas.weights.fold import fold_norms
from weightatlas.weights.spec import NetworkSpec


@dataclass(frozen=True)
class Canonical:
    """Networks in the form in which they are compared.

    Args:
        values: Networks as rows, balanced.
        folded: The same before units were balanced.
        factors: What units were multiplied by.
        spec: Layout of the rows; no batch norms are left that could be folded.
        scalings: Which units were balanced.
        body: Layout of the tensors before the head; its rows are `values[:, keep]`.
        keep: Places of the body in the rows.
    """

    values: Float[Tensor, "networks params"]
    folded: Float[Tensor, "networks params"]
    factors: tuple[Float[Tensor, "networks _"], ...]
    spec: NetworkSpec
    scalings: tuple[Scaling, ...]
    body: NetworkSpec
    keep: Tensor

    @property
    def bodies(self) -> Float[Tensor, "networks body"]:
        """Rows without the head."""
        return self.values[:, self.keep]


def canonical_form(values: Float[Tensor, "networks params"], spec: NetworkSpec) -> Canonical:
    """Fold batch norms and balance units, so that rescaled copies become equal.

    Without a graph, folding is impossible and every permutation group is balanced: the function may change
    (for tanh, say), but all networks are treated alike.

    Args:
        values: Networks as rows.
        spec: Their layout.
    """
    folded, inner = fold_norms(values, spec) if spec.graph is not None else (values, spec)
    scalings = scalings_of(inner) if inner.graph is not None else assumed_scalings(inner)
    balanced, factors = _balanced(folded, inner, scalings)
    body, keep = body_of(inner)
    return Canonical(balanced, folded, tuple(factors), inner, scalings, body, keep)


def _balanced(
    folded: Float[Tensor, "networks params"], spec: NetworkSpec, scalings: tuple[Scaling, ...]
) -> tuple[Float[Tensor, "networks params"], list[Float[Tensor, "networks _"]]]:
    """Balance units, in double precision where numbers are so large that their squares overflow."""
    balanced, factors = balance(folded, spec, scalings)
    large = ~torch.isfinite(balanced).all(dim=1) & torch.isfinite(folded).all(dim=1)
    if bool(large.any()):
        limit = torch.finfo(folded.dtype).max
        again, more = balance(folded[large].double(), spec, scalings)
        balanced[large] = again.clamp(-limit, limit).to(balanced)
        for factor, new in zip(factors, more, strict=True):
            factor[large] = new.to(factor)
    return balanced, factors


@lru_cache(maxsize=256)
def head_of(spec: NetworkSpec) -> Tensor:
    """Places of the head: the last layers, those after all layers whose outputs may be permuted.

    Args:
        spec: The layout.
    """
    moving = [place for place, layer in enumerate(spec.layers) if _moves(spec, layer)]
    layers = spec.layers[moving[-1] + 1 :] if moving else ()
    places = [
        torch.arange(spec.offsets[index], spec.offsets[index] + spec.tensors[index].size)
        for layer in layers
        for index in layer
    ]
    return torch.cat(places) if places else torch.zeros(0, dtype=torch.int64)


@lru_cache(maxsize=256)
def body_of(spec: NetworkSpec) -> tuple[NetworkSpec, Tensor]:
    """Cut the head: the layers none of whose tensors has outputs that may be permuted.

    Outputs have a fixed order and a meaning (classes), so heads of strangers look alike; and heads are what
    is replaced when a network is reused. A network without hidden groups keeps everything.

    Args:
        spec: The layout.

    Returns:
        Layout of the body, and the places of its numbers.
    """
    inside = [index for layer in spec.layers for index in layer if _moves(spec, layer)]
    return part_of(spec, tuple(sorted(inside) or range(len(spec.tensors))))


def part_of(spec: NetworkSpec, inside: tuple[int, ...]) -> tuple[NetworkSpec, Tensor]:
    """Choose tensors.

    Args:
        spec: The layout.
        inside: Indices of the tensors, in order.

    Returns:
        Layout of these tensors, and the places of their numbers.
    """
    layers = sorted({spec.tensors[index].layer for index in inside})
    tensors = tuple(
        spec.tensors[index].replace(layer=layers.index(spec.tensors[index].layer)) for index in inside
    )
    places = [
        torch.arange(spec.offsets[index], spec.offsets[index] + spec.tensors[index].size) for index in inside
    ]
    return NetworkSpec(tensors=tensors, groups=spec.groups), torch.cat(places)


def _moves(spec: NetworkSpec, layer: tuple[int, ...]) -> bool:
    """Tell whether the outputs of a layer may be permuted; embeddings have theirs on the last axis."""
    for index in layer:
        tensor = spec.tensors[index]
        axis = -1 if tensor.role == "embedding" else 0
        if tensor.axes and any(segment.group is not None for segment in tensor.axes[axis]):
            return True
    return False
