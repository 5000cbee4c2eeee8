"""Fields: signals over coordinates, each represented by one network, with a class for every signal."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from weightatlas.config import Config
from weightatlas.tasks.task import Task


class PointConfig(Config):
    """Where a field is sampled.

    As in DeepSDF (Park et al., 2019), most points of a shape are points of its surface moved by Gaussians
    of two widths, and the rest is spread evenly over the cube. Images take all of their pixels.

    Args:
        count: Points per shape.
        near: Share of points near the surface.
        wide: Standard deviation of the wider Gaussian, which half of them take.
        narrow: That of the narrower one.
    """

    count: int = 4096
    near: float = 0.75
    wide: float = 0.05
    narrow: float = 0.02


class Fields(ABC):
    """Signals of one kind.

    Class attributes:
        coordinates: Numbers that name a point.

    Attributes every field sets: `labels` holds a class number per signal, `classes` the names of the
    classes, `digests` a text per signal that differs where signals do.
    """

    coordinates: ClassVar[int]
    labels: Int[np.ndarray, " signals"]
    classes: tuple[str, ...]
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.digests)

    @abstractmethod
    def take(self, rows: Int[np.ndarray, " some"]) -> "Fields":
        """Return some of the signals."""

    @abstractmethod
    def points(
        self, keys: Int[Tensor, " signals"], config: PointConfig
    ) -> Float[Tensor, "signals points coordinates"]:
        """Draw points that matter for each signal; they depend on its key and itself alone.

        Args:
            keys: One 64-bit key per signal.
            config: How many, and where.
        """

    @abstractmethod
    def measure(self, points: Float[Tensor, "signals points coordinates"]) -> Float[Tensor, "signals points"]:
        """Read each signal at points of its own that are known to be in bounds."""


class ImageFields(Fields):
    """Gray images as functions of the place: brightness 0 to 1 is brought to -1 to 1.

    Example:
        >>> from weightatlas.tasks.task import create_task
        >>> images = image_fields(create_task("digits"))
        >>> images.points(torch.arange(len(images)), PointConfig()).shape
        torch.Size([1797, 64, 2])

    Args:
        values: Brightness, shape `(images, height, width)`.
        labels: Class of each.
        classes: Names of the classes.
        digests: A hash of each.
    """

    coordinates = 2

    def __init__(
        self,
        values: Float[Tensor, "images height width"],
        labels: Int[np.ndarray, " images"],
        classes: tuple[str, ...],
        digests: tuple[str, ...],
    ) -> None:
        self.values, self.labels, self.classes, self.digests = values, labels, classes, digests

    def take(self, rows: Int[np.ndarray, " some"]) -> "ImageFields":
        """Return some of the images."""
        digests = tuple(self.digests[row] for row in rows.tolist())
        values = self.values[torch.from_numpy(rows.copy())]
        return ImageFields(values, self.labels[rows], self.classes, digests)

    def points(self, keys: Int[Tensor, " signals"], config: PointConfig) -> Float[Tensor, "signals points 2"]:
        """Return the centres of all pixels, for each image."""
        return pixels(*self.values.shape[1:]).expand(len(self), -1, -1)

    def measure(self, points: Float[Tensor, "signals points 2"]) -> Float[Tensor, "signals points"]:
        """Read images between their pixels."""
        places = points.flip(-1)[:, None]  # grid_sample counts axes from the last one
        values = self.values[:, None] * 2 - 1
        return F.grid_sample(values, places, padding_mode="border", align_corners=False)[:, 0, 0]


def pixels(height: int, width: int) -> Float[Tensor, "points 2"]:
    """Centres of pixels in [-1, 1]^2, row by row; the first coordinate counts rows.

    Example:
        >>> pixels(1, 2)
        tensor([[ 0.0000, -0.5000],
                [ 0.0000,  0.5000]])
    """
    sides = [(torch.arange(side) + 0.5) * 2 / side - 1 for side in (height, width)]
    return torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).view(-1, 2)


def image_fields(task: Task) -> ImageFields:
    """Take the distinct gray images of all splits of a task, each once."""
    from hashlib import sha256

    parts = ("train", "val", "test")
    values = torch.cat([task.raw(part).mean(1) for part in parts])
    labels = np.concatenate([task.labels[part] for part in parts])
    digests = [sha256(image.numpy().tobytes()).hexdigest()[:16] for image in values]
    kept = np.array(sorted({digest: row for row, digest in reversed(list(enumerate(digests)))}.values()))
    names = tuple(map(str, range(task.classes)))
    return ImageFields(values[kept], labels[kept], names, tuple(digests[row] for row in kept))
