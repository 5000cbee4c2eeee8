"""Shapes as signed distances: negative inside, positive outside, in the cube [-1, 1]^3."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.runtime import normal, stream, uniform
from weightatlas.tasks.fields import Fields, PointConfig

_STEP = 0.03  # half the distance over which gradients are measured: half a voxel of 32^3 data


class Shapes(Fields):
    """Shapes with classes, whose signed distance can be asked for anywhere in the cube."""

    coordinates = 3

    def distance(self, points: Float[Tensor, "shapes points 3"]) -> Float[Tensor, "shapes points"]:
        """Compute signed distances of each shape at points of its own.

        Args:
            points: Coordinates in [-1, 1].

        Raises:
            DataError: There are points for another number of shapes, or points outside the cube.
        """
        if len(points) != len(self):
            raise DataError(f"There are {len(self)} shapes, points were given for {len(points)}.")
        check_bounded(points)
        return self.measure(points)

    def points(self, keys: Int[Tensor, " signals"], config: PointConfig) -> Float[Tensor, "signals points 3"]:
        """Draw points for every shape, most of them near its surface, in random order."""
        drawn = uniform(stream(keys, "points"), 3 * config.count).float().view(len(keys), config.count, 3)
        points = (2 * drawn - 1).clamp(-1, 1)
        count = round(config.near * config.count)
        near = to_surface(self, points[:, :count])
        jitter = normal(stream(keys, "jitter"), 3 * count).float().view(len(keys), count, 3)
        width = torch.full((count, 1), config.narrow)
        width[: count // 2] = config.wide
        points[:, :count] = (near + width * jitter).clamp(-1, 1)
        order = uniform(stream(keys, "order"), config.count).argsort(1)
        return points.gather(1, order[..., None].expand_as(points))


def check_bounded(points: Float[Tensor, "*any 3"]) -> None:
    """Refuse points outside the cube, where networks were never told anything.

    Example:
        >>> check_bounded(torch.zeros(4, 3))

    Raises:
        DataError: A coordinate is not finite or beyond [-1, 1].
    """
    wrong = ~(points.abs() <= 1 + 1e-6).all(-1)
    if bool(wrong.any()):
        worst = points[wrong].nan_to_num(torch.inf).abs().max()
        raise DataError(
            f"{int(wrong.sum())} of {wrong.numel()} points are unbounded: they lie outside [-1, 1]^3.",
            where=f"The largest coordinate is {float(worst):.3g}.",
            todo="Scale the shape, or clip the points, to the cube.",
        )


def to_surface(
    shapes: Shapes, points: Float[Tensor, "shapes points 3"], rounds: int = 2
) -> Float[Tensor, "shapes points 3"]:
    """Move points along the gradient of the signed distance by its value, which ends near the surface."""
    for _ in range(rounds):
        slopes = [
            shapes.measure((points + move).clamp(-1, 1)) - shapes.measure((points - move).clamp(-1, 1))
            for move in _STEP * torch.eye(3)
        ]
        normals = torch.nn.functional.normalize(torch.stack(slopes, dim=-1), dim=-1)
        points = (points - normals * shapes.measure(points)[..., None]).clamp(-1, 1)
    return points


def cube(side: int) -> Float[Tensor, "points 3"]:
    """Centres of the cells of a grid over the cube, last axis fastest.

    Example:
        >>> cube(2)[0]
        tensor([-0.5000, -0.5000, -0.5000])
    """
    centres = (torch.arange(side) + 0.5) * 2 / side - 1
    return torch.stack(torch.meshgrid(centres, centres, centres, indexing="ij"), dim=-1).view(-1, 3)
