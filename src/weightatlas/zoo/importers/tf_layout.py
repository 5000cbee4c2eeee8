"""Flat vectors in TensorFlow's order <-> flat vectors in PyTorch's."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import ConfigError, DataError, gather
from weightatlas.zoo.header import Header
from weightatlas.zoo.importers.matrix_files import read_csv


@dataclass(frozen=True, eq=False)
class TfLayout:
    """How flat TensorFlow vectors and flat PyTorch vectors map onto each other.

    Example:
        >>> layout = TfLayout((("b/kernel:0", 0, 6, (2, 3)),))
        >>> layout.to_torch(torch.arange(6.0)[None]).tolist()
        [[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]]
        >>> layout.to_published(layout.to_torch(torch.arange(6.0)[None])).tolist()
        [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]

    Args:
        tensors: (name, start, stop, shape) of every tensor, in the order of the file; kernels are
            `(height, width, in, out)` or `(in, out)`, a bias may stand before its kernel.
    """

    tensors: tuple[tuple[str, int, int, tuple[int, ...]], ...]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """PyTorch name -> PyTorch shape, weight before bias, layers in order."""
        return {name: shape for name, _, shape in self._parts()}

    @property
    def order(self) -> Int[Tensor, " params"]:
        """For each PyTorch place, the place in the file."""
        return torch.cat([places for _, places, _ in self._parts()])

    def to_torch(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks params"]:
        """Bring rows of the file to the PyTorch convention."""
        return values[:, self.order]

    def to_published(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks params"]:
        """Bring rows of a zoo back to the order of the file."""
        back = torch.empty_like(values)
        back[:, self.order] = values
        return back

    def _parts(self) -> list[tuple[str, Tensor, tuple[int, ...]]]:
        layers: dict[str, dict[str, tuple[Tensor, tuple[int, ...]]]] = {}
        for name, start, stop, shape in self.tensors:
            layer, _, leaf = name.rpartition("/")
            places = torch.arange(start, stop).reshape(shape)
            if leaf.startswith("kernel"):
                axes = (3, 2, 0, 1) if len(shape) == 4 else tuple(range(len(shape)))[::-1]
                places = places.permute(axes)
            kind = "weight" if leaf.startswith("kernel") else "bias"
            layers.setdefault(layer, {})[kind] = places.reshape(-1), tuple(places.shape)
        return [
            (f"{layer}.{kind}", *own[kind])
            for layer, own in layers.items()
            for kind in ("weight", "bias")
            if kind in own
        ]


def layout_of(header: Header) -> TfLayout:
    """Find the layout that an imported zoo remembers, to take its rows back to TensorFlow's order.

    Raises:
        ConfigError: The zoo was not imported from this format.
    """
    stored = header.provenance.get("layout")
    if not stored:
        raise ConfigError(f"The zoo '{header.name}' was not imported from a small CNN zoo.")
    return TfLayout(tuple((name, start, stop, tuple(shape)) for name, start, stop, shape in stored))


def read_layout(path: Path, params: int) -> TfLayout:
    """Read layout.csv: varname, start_idx, end_idx, shape.

    Raises:
        DataError: It does not cover the parameters exactly once, or a shape contradicts its range.
    """
    rows = read_csv(path).rows()
    tensors, problems = [], []
    for row in rows:
        shape = tuple(int(n) for n in re.findall(r"\d+", str(row.get("shape", ""))))
        start, stop = int(row.get("start_idx", 0)), int(row.get("end_idx", 0))
        if int(np.prod(shape)) != stop - start:
            problems.append(f"'{row.get('varname')}' has shape {shape}, its range {start} to {stop}")
        tensors.append((str(row.get("varname")), start, stop, shape))
    covered = sorted(place for _, start, stop, _ in tensors for place in range(start, stop))
    if not problems and covered != list(range(params)):
        problems.append(f"it covers {len(covered):,} places, weights.npy has {params:,} columns")
    gather(DataError, problems, where=f"In {path}.", todo="Download the folder again.")
    return TfLayout(tuple(tensors))
