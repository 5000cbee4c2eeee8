"""One tensor of a file before it is read, and how it becomes a plain tensor with a known origin."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from weightatlas.weights.files.checkpoint import Origin


@dataclass(frozen=True, eq=False)
class Leaf:
    """A tensor that can be read when it is wanted; what is never wanted is never read.

    Args:
        shape: Its shape in the file.
        dtype: Its number type in the file, in torch's words.
        load: Reads it, shape as in the file.
        place: Where its numbers stand; two leaves with the same place are one tensor.
        axes: Order of the file's axes in the PyTorch convention.
        fit: Its shape in the PyTorch convention, if that is more than an order of axes.
        lossy: True if the file holds it in a form that numbers alone cannot give back (quantized).
    """

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], Tensor]
    place: Hashable = None
    axes: tuple[int, ...] | None = None
    fit: tuple[int, ...] | None = None
    lossy: bool = False

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def floating(self) -> bool:
        return "float" in self.dtype or self.dtype.startswith(("q", "complex"))


def leaf_of(tensor: Tensor) -> Leaf:
    """Wrap a tensor that is in memory already."""
    return Leaf(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), lambda: tensor)


def read_leaf(leaf: Leaf, key: str) -> tuple[Tensor, Origin]:
    """Read a tensor, bring it to the PyTorch convention and say what float32 makes of it.

    Example:
        >>> read_leaf(leaf_of(torch.tensor([0.1], dtype=torch.float64)), "w")[1].lossy
        True

    Args:
        leaf: The tensor.
        key: Its key in the file.

    Returns:
        A dense tensor on the CPU (real, not quantized), and its origin.
    """
    raw = leaf.load().detach()
    if raw.layout != torch.strided:
        raw = raw.to_dense()
    if raw.is_complex():
        raw = torch.view_as_real(raw.resolve_conj())
    plain = raw.dequantize() if raw.is_quantized else raw
    error = _error(plain)
    if leaf.axes is not None:
        plain = plain.permute(leaf.axes).contiguous()
    if leaf.fit is not None:
        plain = plain.reshape(leaf.fit)
    origin = Origin(
        key=key,
        dtype=leaf.dtype,
        shape=leaf.shape,
        axes=leaf.axes,
        lossy=raw.is_quantized or leaf.lossy or error > 0,
        error=error,
    )
    return plain, origin


def _error(tensor: Tensor) -> float:
    """Measure the largest error of the float32 form; 0 where float32 holds every number."""
    if tensor.dtype != torch.float64 or not tensor.numel():
        return 0.0
    finite = tensor[torch.isfinite(tensor)]
    return float((finite - finite.float().double()).abs().max()) if finite.numel() else 0.0
