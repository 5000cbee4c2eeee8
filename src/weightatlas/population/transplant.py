"""Weights carried over to another task: the last layer drawn anew, for as many classes as are needed."""

from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import SpecError
from weightatlas.population.initialize import initialize
from weightatlas.weights.spec import NetworkSpec


def head_of(spec: NetworkSpec) -> tuple[str, ...]:
    """Return the names of the last layer's tensors.

    Raises:
        SpecError: The spec has no tensors.
    """
    if not spec.tensors:
        raise SpecError("The spec has no tensors, so it has no last layer.")
    last = max(tensor.layer for tensor in spec.tensors)
    return tuple(tensor.name for tensor in spec.tensors if tensor.layer == last)


def transplant(
    values: Float[Tensor, "networks params"],
    source: NetworkSpec,
    target: NetworkSpec,
    keys: Int[Tensor, " networks"],
    scheme: str = "kaiming_uniform",
    keep_head: bool = False,
) -> Float[Tensor, "networks target_params"]:
    """Carry networks over to a layout with another last layer, drawn anew for each network.

    With the layout of the source this resets the head; with one of more or fewer classes it changes the
    head's size (SANE, ICML 2024, section 4.3: the classifier of the tokens is reset, padded or cut).

    Args:
        values: Networks as rows.
        source: Their layout.
        target: Layout to fill: the same tensors in the same order, but for the last layer's sizes.
        keys: One 64-bit key per network, for what is drawn.
        scheme: How it is drawn, see `initialize`.
        keep_head: Keep the last layer too; its sizes must then agree.

    Returns:
        Networks of the target's layout.

    Raises:
        SpecError: The layouts differ in more than the last layer.
    """
    fresh = () if keep_head else head_of(target)
    _check(source, target, fresh)
    made = initialize(target, keys, scheme).to(values)
    for old, new in zip(source.tensors, target.tensors, strict=True):
        if new.name not in fresh:
            made[:, target.slices[new.name]] = values[:, source.slices[old.name]]
    return made


def _check(source: NetworkSpec, target: NetworkSpec, fresh: tuple[str, ...]) -> None:
    """Refuse layouts that differ in what is to be kept.

    Raises:
        SpecError: They do.
    """
    pairs = list(zip(source.tensors, target.tensors, strict=False))
    wrong = [
        f"'{new.name}' is {new.shape}, it was {old.shape}"
        for old, new in pairs
        if new.name not in fresh and (old.shape, old.role) != (new.shape, new.role)
    ]
    if len(source.tensors) != len(target.tensors):
        wrong.append(f"there are {len(target.tensors)} tensors, there were {len(source.tensors)}")
    if wrong:
        raise SpecError(
            f"These networks cannot be carried over: {'; '.join(wrong)}.",
            todo="Only the last layer may differ, and only if it is drawn anew.",
        )
