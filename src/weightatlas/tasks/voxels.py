"""Voxel files -> signed distances: solid cells, duplicates left out, the distance transform of the rest."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from weightatlas.errors import DataError, FileError
from weightatlas.tasks.bundled import data_file
from weightatlas.tasks.shapes import Shapes

FILE = "modelnet10_voxels32.npz"
MARGIN = 2  # empty cells around the grid, so that every surface is closed inside the cube


class VoxelShapes(Shapes):
    """Signed distances on grids that cover the cube, with straight lines between the cells.

    Example:
        >>> block = np.zeros((1, 8, 8, 8), bool)
        >>> block[:, 2:6, 2:6, 2:6] = True
        >>> shapes = of_solids(block, ["block"])
        >>> shapes.distance(torch.zeros(1, 1, 3)) < 0
        tensor([[True]])

    Args:
        grids: Signed distances in the cells, shape `(shapes, side, side, side)`, in units of the cube.
        labels: Class number of each.
        classes: Names of the classes.
        digests: A hash of the solid cells of each.
    """

    def __init__(
        self,
        grids: Float[Tensor, "shapes side side side"],
        labels: Int[np.ndarray, " shapes"],
        classes: tuple[str, ...],
        digests: tuple[str, ...],
    ) -> None:
        self.grids, self.labels, self.classes, self.digests = grids, labels, classes, digests

    def take(self, rows: Int[np.ndarray, " some"]) -> "VoxelShapes":
        """Return some of the shapes."""
        digests = tuple(self.digests[row] for row in rows.tolist())
        grids = self.grids[torch.from_numpy(rows.copy())]
        return VoxelShapes(grids, self.labels[rows], self.classes, digests)

    def measure(self, points: Float[Tensor, "shapes points 3"]) -> Float[Tensor, "shapes points"]:
        """Read signed distances between the cells."""
        order = points.flip(-1)[:, None, None]  # grid_sample counts axes from the last one
        found = F.grid_sample(self.grids[:, None], order, padding_mode="border", align_corners=False)
        return found[:, 0, 0, 0]


def of_solids(solids: Bool[np.ndarray, "shapes side side side"], names: list[str]) -> VoxelShapes:
    """Turn solid cells into signed distances, each distinct shape once, in order of first appearance.

    Args:
        solids: True inside.
        names: Name of the class of each shape.

    Raises:
        DataError: There is no shape, one has no solid cell, or shapes and names differ in number.
    """
    if len(solids) != len(names) or not len(solids):
        raise DataError(f"There are {len(solids)} shapes and {len(names)} names of classes.")
    flat = np.packbits(solids.reshape(len(solids), -1), axis=1)
    digests = [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in flat]
    first = {digest: place for place, digest in reversed(list(enumerate(digests)))}
    kept = sorted(first.values())
    empty = [place for place in kept if not solids[place].any()]
    if empty:
        raise DataError(f"Shape {empty[0]} has no solid cell, so it has no surface.")
    grids = torch.from_numpy(np.stack([_signed_distance(solids[place]) for place in kept]))
    classes = tuple(dict.fromkeys(names))
    labels = np.array([classes.index(names[place]) for place in kept])
    return VoxelShapes(grids, labels, classes, tuple(digests[place] for place in kept))


def _signed_distance(solid: Bool[np.ndarray, "side side side"]) -> Float[np.ndarray, "_ _ _"]:
    """Distance to the nearest face between a solid and an empty cell, about: half a cell off both centres."""
    from scipy.ndimage import distance_transform_edt

    solid = np.pad(solid, MARGIN)
    outside, inside = (np.asarray(distance_transform_edt(part)) for part in (~solid, solid))
    cells = np.where(solid, 0.5 - inside, outside - 0.5)
    return (cells * 2 / len(solid)).astype(np.float32)


@lru_cache(maxsize=2)
def furniture_shapes(classes: tuple[str, ...] = ("chair",)) -> VoxelShapes:
    """Read the distinct shapes of ModelNet10 classes from the voxel file in $WEIGHTATLAS_DATA: 839 chairs.

    Args:
        classes: "chair" and "monitor" are there.

    Raises:
        DataError: The variable is not set, or the file or a class is missing.
        FileError: The file is damaged.
    """
    path = data_file("modelnet10_voxels", FILE)
    found, names = [], []
    for name in classes:
        solid = read_solids(path, name)
        found.append(solid)
        names += [name] * len(solid)
    return of_solids(np.concatenate(found), names)


def read_solids(path: Path, name: str) -> Bool[np.ndarray, "shapes side side side"]:
    """Read the filled shapes of a class: rows of packed bits, a cube each.

    Raises:
        DataError: The class is not there.
        FileError: The file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            known = sorted(key.removesuffix("_solid") for key in file if key.endswith("_solid"))
            if name not in known:
                raise DataError(
                    f"{path} has no shapes of class '{name}'.", todo=f"Known: {', '.join(known)}."
                )
            bits = np.unpackbits(file[f"{name}_solid"], axis=1)
    except (OSError, ValueError, EOFError) as error:
        raise FileError(f"{path} cannot be read as npz: {error}.", todo="Copy it again.") from None
    side = round(bits.shape[1] ** (1 / 3))
    if side**3 != bits.shape[1]:
        raise FileError(f"{path} holds rows of {bits.shape[1]} cells, which is no cube.")
    return bits.reshape(-1, side, side, side).astype(bool)
