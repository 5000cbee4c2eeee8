"""Spheres, boxes, tori, cylinders and unions of them, with exact signed distances and known sizes."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.runtime import key_of, stream, uniform
from weightatlas.tasks.shapes import Shapes

SIZES = 6  # numbers that describe a primitive, besides its centre
Distance = Callable[[Tensor, Tensor], Tensor]


def sphere(points: Float[Tensor, "n p 3"], sizes: Float[Tensor, "n 6"]) -> Float[Tensor, "n p"]:
    """Signed distance of spheres; sizes: radius."""
    return points.norm(dim=-1) - sizes[:, :1]


def box(points: Float[Tensor, "n p 3"], sizes: Float[Tensor, "n 6"]) -> Float[Tensor, "n p"]:
    """Signed distance of boxes; sizes: half of each side."""
    return _corner(points.abs() - sizes[:, None, :3])


def torus(points: Float[Tensor, "n p 3"], sizes: Float[Tensor, "n 6"]) -> Float[Tensor, "n p"]:
    """Signed distance of tori around the third axis; sizes: radius of the ring, radius of the tube."""
    ring = points[..., :2].norm(dim=-1) - sizes[:, :1]
    return torch.hypot(ring, points[..., 2]) - sizes[:, 1:2]


def cylinder(points: Float[Tensor, "n p 3"], sizes: Float[Tensor, "n 6"]) -> Float[Tensor, "n p"]:
    """Signed distance of cylinders around the third axis; sizes: radius, half of the height."""
    sides = torch.stack([points[..., :2].norm(dim=-1), points[..., 2].abs()], dim=-1)
    return _corner(sides - sizes[:, None, :2])


def union(points: Float[Tensor, "n p 3"], sizes: Float[Tensor, "n 6"]) -> Float[Tensor, "n p"]:
    """Boxes with a ball on top; exact outside, a lower bound of the depth inside.

    Sizes: half of each side of the box, radius of the ball.
    """
    top = torch.zeros(len(sizes), 1, 3).to(points)
    top[:, 0, 2] = sizes[:, 2]
    ball = (points - top).norm(dim=-1) - sizes[:, 3:4]
    return torch.minimum(box(points, sizes), ball)


def _corner(beyond: Float[Tensor, "n p sides"]) -> Float[Tensor, "n p"]:
    """Distance to a corner from how far a point lies beyond each side."""
    return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0)


KINDS: dict[str, Distance] = {
    "sphere": sphere,
    "box": box,
    "torus": torus,
    "cylinder": cylinder,
    "union": union,
}
# Smallest and largest of each size.
_RANGES: dict[str, tuple[tuple[float, float], ...]] = {
    "sphere": ((0.3, 0.7),),
    "box": ((0.2, 0.6),) * 3,
    "torus": ((0.35, 0.55), (0.12, 0.25)),
    "cylinder": ((0.2, 0.5), (0.3, 0.7)),
    "union": ((0.3, 0.6), (0.3, 0.6), (0.15, 0.3), (0.2, 0.4)),
}


class Primitives(Shapes):
    """Analytic shapes; needs no data.

    Example:
        >>> shapes = draw_primitives(10)
        >>> shapes.classes
        ('sphere', 'box', 'torus', 'cylinder', 'union')

    Args:
        labels: Kind of each shape, as its place in `KINDS`.
        sizes: Its sizes, as its kind reads them.
        centres: Where it stands.

    Raises:
        DataError: A shape is not bounded by the cube.
    """

    classes = tuple(KINDS)

    def __init__(
        self,
        labels: Int[np.ndarray, " shapes"],
        sizes: Float[Tensor, "shapes 6"],
        centres: Float[Tensor, "shapes 3"],
    ) -> None:
        self.labels, self.sizes, self.centres = labels, sizes, centres
        numbers = zip(labels.tolist(), sizes.tolist(), centres.tolist(), strict=True)
        self.digests = tuple(f"{key_of(each) & 0xFFFF_FFFF_FFFF_FFFF:016x}" for each in numbers)
        faces = _faces().expand(len(labels), -1, -1)
        nearest = self.measure(faces).amin(1)
        if not bool((nearest > 0).all()):
            row = int((~(nearest > 0)).nonzero()[0, 0])
            raise DataError(
                f"Shape {row}, a {self.classes[labels[row]]}, is unbounded: it leaves the cube [-1, 1]^3.",
                where=f"Its sizes are {[round(size, 3) for size in sizes[row].tolist()]}.",
                todo="Make it smaller or move it to the centre.",
            )

    def take(self, rows: Int[np.ndarray, " some"]) -> "Primitives":
        """Return some of the shapes."""
        places = torch.from_numpy(rows.copy())  # a column of a table may not be writable
        return Primitives(self.labels[rows], self.sizes[places], self.centres[places])

    def measure(self, points: Float[Tensor, "shapes points 3"]) -> Float[Tensor, "shapes points"]:
        """Compute signed distances, kind by kind."""
        points, found = points - self.centres[:, None], torch.empty(points.shape[:2])
        for label, kind in enumerate(KINDS.values()):
            rows = torch.from_numpy(np.flatnonzero(self.labels == label))
            if len(rows):
                found[rows] = kind(points[rows], self.sizes[rows])
        return found


def draw_primitives(count: int, seed: int = 0) -> Primitives:
    """Draw shapes, kinds in turn, sizes and centres at random; shape i never depends on the count.

    Args:
        count: How many.
        seed: Of the sizes and centres.
    """
    labels = np.arange(count) % len(KINDS)
    keys = torch.tensor([key_of("primitive", seed, number) for number in range(count)], dtype=torch.int64)
    drawn = uniform(stream(keys, "sizes"), SIZES).float()
    ranges = torch.zeros(len(KINDS), SIZES, 2)
    for place, kind in enumerate(KINDS):
        ranges[place, : len(_RANGES[kind])] = torch.tensor(_RANGES[kind])
    low, high = ranges[torch.from_numpy(labels)].unbind(-1)
    centres = 0.2 * uniform(stream(keys, "centre"), 3).float() - 0.1
    return Primitives(labels, torch.lerp(low, high, drawn), centres)


def _faces(side: int = 9) -> Float[Tensor, "points 3"]:
    """Points on the faces of the cube."""
    line = torch.linspace(-1, 1, side)
    points = torch.cartesian_prod(line, line, line)
    return points[(points.abs() == 1).any(1)]
