"""Meshes of networks that represent shapes: marching cubes, files that open, and overlap of solids."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightatlas.atomic import write_bytes, write_text
from weightatlas.errors import ConfigError, DataError
from weightatlas.population.forward import Population
from weightatlas.tasks.shapes import cube


@dataclass(frozen=True, slots=True)
class Mesh:
    """A surface of triangles, in the coordinates of the cube [-1, 1]^3.

    Args:
        vertices: Shape `(vertices, 3)`.
        faces: Rows of vertices, counterclockwise as seen from outside.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]

    @property
    def corners(self) -> Float[np.ndarray, "faces 3 3"]:
        """Vertices of every triangle."""
        return self.vertices[self.faces]

    @property
    def volume(self) -> float:
        """Enclosed volume; positive if triangles look outwards."""
        a, b, c = self.corners.transpose(1, 0, 2)
        return float((a * np.cross(b, c)).sum() / 6)

    def write(self, path: str | Path) -> Path:
        """Write an .obj or a .ply file, as they are: no scaling, no moving.

        Raises:
            ConfigError: The name ends otherwise.
            FileError: The file cannot be written.
        """
        path = Path(path)
        if path.suffix == ".obj":
            lines = [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in self.vertices.tolist()]
            lines += [f"f {a} {b} {c}" for a, b, c in (self.faces + 1).tolist()]
            write_text(path, "\n".join(lines) + "\n")
        elif path.suffix == ".ply":
            write_bytes(path, self._ply())
        else:
            raise ConfigError(f"Meshes are written as .obj or .ply, not as '{path.name}'.")
        return path

    def _ply(self) -> bytes:
        """Write binary PLY, which viewers read fastest."""
        names = "\n".join(f"property float {axis}" for axis in "xyz")
        head = (
            f"ply\nformat binary_little_endian 1.0\nelement vertex {len(self.vertices)}\n{names}\n"
            f"element face {len(self.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
        )
        rows = np.empty(len(self.faces), dtype=[("count", "u1"), ("at", "<i4", 3)])
        rows["count"], rows["at"] = 3, self.faces
        return head.encode() + self.vertices.astype("<f4").tobytes() + rows.tobytes()


def mesh_of(values: Float[Tensor, "side side side"], name: str = "the network", closed: bool = False) -> Mesh:
    """Find the surface where a signed distance, given in the cells of a grid over the cube, is zero.

    Marching cubes is scikit-image's (extra `shapes`).

    Example:
        >>> ball = mesh_of(cube(24).norm(dim=1).view(24, 24, 24) - 0.5)
        >>> round(ball.volume, 1)
        0.5

    Args:
        values: Negative inside.
        name: Of whom, for messages.
        closed: Close a surface that leaves the cube at its faces, instead of refusing it.

    Raises:
        ConfigError: scikit-image is not installed.
        DataError: Values are not finite, there is no surface, or it is unbounded: it leaves the cube.
    """
    try:
        from skimage.measure import marching_cubes
    except ImportError:
        todo = 'Install the extra: pip install "weightatlas[shapes]".'
        raise ConfigError("Meshes need scikit-image, which is not installed.", todo=todo) from None
    field = values.detach().cpu().numpy().astype(np.float32)
    check_surface(field, name, closed)
    side, margin = len(field), int(closed)
    if closed:
        field = np.pad(field, 1, constant_values=float(2 / side))
    vertices, faces, _, _ = marching_cubes(field, level=0.0, gradient_direction="descent")
    return Mesh((vertices - margin + 0.5) * 2 / side - 1, faces.astype(np.int64))


def check_surface(field: Float[np.ndarray, "side side side"], name: str, closed: bool = False) -> None:
    """Refuse a field without a surface, or one whose inside reaches the faces of the cube.

    Raises:
        DataError: One of both, or a value is not finite.
    """
    if not np.isfinite(field).all():
        raise DataError(f"The signed distance of {name} is not finite everywhere.")
    inside = field < 0
    if inside.all() or not inside.any():
        where = f"It lies between {field.min():.3g} and {field.max():.3g} on a grid of {field.shape}."
        raise DataError(f"The level set of {name} is empty: no signed distance is 0.", where=where)
    ends = [inside.take([0, -1], axis=axis).any() for axis in range(3)]
    if any(ends) and not closed:
        axes = ", ".join("xyz"[axis] for axis, touched in enumerate(ends) if touched)
        raise DataError(
            f"The shape of {name} is unbounded: it leaves the cube [-1, 1]^3 along {axes}.",
            todo="Pass closed=True to cut it off at the faces of the cube.",
        )


def grid_values(
    population: Population, weights: Float[Tensor, "networks params"], side: int, chunk: int = 8
) -> Float[Tensor, "networks side side side"]:
    """Run networks on the cells of a grid over the cube, a few networks at a time."""
    points = cube(side).to(weights)
    parts = [population.outputs_no_grad(part, points)[..., 0] for part in weights.split(chunk)]
    return torch.cat(parts).view(-1, side, side, side)


def overlap(first: Bool[Tensor, "n *cells"], second: Bool[Tensor, "n *cells"]) -> Float[Tensor, " n"]:
    """Intersection over union of solids on the same grid; 0 where both are empty.

    Example:
        >>> overlap(torch.tensor([[True, True]]), torch.tensor([[True, False]]))
        tensor([0.5000])
    """
    first, second = first.flatten(1), second.flatten(1)
    return (first & second).sum(1) / (first | second).sum(1).clamp(min=1)
