"""In what the layouts of two networks differ: in the head alone, or elsewhere."""

from dataclasses import dataclass
from typing import Literal

from weightatlas.weights.spec import NetworkSpec, TensorSpec

_HEAD = 2  # last layers that count as a head, at most
_NAMED = 0.5  # share of the smaller network's tensors whose names both must have to go by names
_LISTED = 4


@dataclass(frozen=True)
class LayoutDifference:
    """What one network has and the other has not.

    Args:
        name: "head replaced" if all but the last layers agree, else "other layout"; none if only the order
            differs.
        text: Which tensors differ, by name and shape.
    """

    name: Literal["head replaced", "other layout"] | None
    text: str


def layout_difference(first: NetworkSpec, second: NetworkSpec) -> LayoutDifference | None:
    """Say in what two layouts differ; none if they are equal.

    Tensors are paired by name if both networks mostly have the same names, else layer by layer from the
    first.

    Example:
        >>> from weightatlas.weights.infer import infer
        >>> body = {"a.weight": (8, 4), "b.weight": (6, 8)}
        >>> old, new = (infer({**body, "head.weight": (classes, 6)}).spec for classes in (10, 3))
        >>> layout_difference(old, new)
        LayoutDifference(name='head replaced', text='head.weight 10 × 6 against 3 × 6')

    Args:
        first: One layout.
        second: The other one.
    """
    if first.layout_id == second.layout_id:
        return None
    names = {tensor.name for tensor in first.tensors} & {tensor.name for tensor in second.tensors}
    by_name = len(names) >= _NAMED * min(len(first.tensors), len(second.tensors))
    left = _unnamed(first, second) if by_name else _unplaced(first, second)
    if not any(left):
        return LayoutDifference(None, "the order of tensors")
    head = _at_the_end(first, left[0]) and _at_the_end(second, left[1])
    texts = _texts([first.tensors[i] for i in left[0]], [second.tensors[i] for i in left[1]])
    more = f", and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return LayoutDifference("head replaced" if head else "other layout", ", ".join(texts[:_LISTED]) + more)


def _unnamed(first: NetworkSpec, second: NetworkSpec) -> tuple[list[int], list[int]]:
    """Tensors of each that the other has not under the same name, in the same shape and role."""
    keys = [[(tensor.name, tensor.shape, tensor.role) for tensor in spec.tensors] for spec in (first, second)]
    left = [[i for i, key in enumerate(own) if key not in other] for own, other in (keys, keys[::-1])]
    return left[0], left[1]


def _unplaced(first: NetworkSpec, second: NetworkSpec) -> tuple[list[int], list[int]]:
    """Tensors of each from the first layer on that has another shape or role."""
    kinds = [
        [[(spec.tensors[i].shape, spec.tensors[i].role) for i in layer] for layer in spec.layers]
        for spec in (first, second)
    ]
    alike = [one == other for one, other in zip(*kinds, strict=False)]
    agreed = alike.index(False) if False in alike else len(alike)
    left = [sorted(i for layer in spec.layers[agreed:] for i in layer) for spec in (first, second)]
    return left[0], left[1]


def _at_the_end(spec: NetworkSpec, left: list[int]) -> bool:
    """Tell whether tensors belong to the last layers, and only few layers do."""
    layers = [place for place, layer in enumerate(spec.layers) if set(layer) & set(left)]
    last = list(range(len(spec.layers) - len(layers), len(spec.layers)))
    return layers == last and len(layers) <= _HEAD and len(layers) < len(spec.layers)


def _texts(first: list[TensorSpec], second: list[TensorSpec]) -> list[str]:
    """Say of each tensor in which shape it is where."""
    other = {tensor.name: _shape(tensor) for tensor in second}
    own = {tensor.name: _shape(tensor) for tensor in first}
    found = []
    for name, shape in own.items():
        against = other.pop(name, None)
        where = "only in the first" if against is None else f"against {against}"
        found.append(f"{name} {shape} {where}")
    return found + [f"{name} {shape} only in the second" for name, shape in other.items()]


def _shape(tensor: TensorSpec) -> str:
    return " × ".join(map(str, tensor.shape)) or "scalar"
