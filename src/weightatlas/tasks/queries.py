"""Unlabelled images on which networks are compared; never evaluation images."""

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import ConfigError, DataError
from weightatlas.runtime import generator_of
from weightatlas.tasks.task import Task, create_task


class QueryPool:
    """Images of a task's shape and normalization, resident on one device.

    Example:
        >>> pool = QueryPool(create_task("digits"), size=100)
        >>> index, inputs = pool.sample(8, torch.Generator().manual_seed(0))
        >>> inputs.shape
        torch.Size([8, 1, 8, 8])

    Args:
        task: The task whose networks will see the images.
        source: "train" (the task's training images), "uniform" (noise, brightness 0..1), or another task
            or its name, whose training images are brought to this task's shape and normalization; those
            that are evaluation images of this task are left out.
        size: How many images to keep, drawn by `seed`; none keeps all (uniform noise: 1,024).
        seed: Seed of the drawing.
        device: Where the images live.

    Raises:
        ConfigError: The size is not positive, or an evaluation split was asked for.
        DataError: The other task has evaluation images of this one only.
    """

    def __init__(
        self,
        task: Task,
        source: str | Task = "train",
        size: int | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if size is not None and size < 1:
            raise ConfigError(f"A query pool needs at least one image, its size is {size}.")
        if source in ("test", "val"):
            raise ConfigError(
                f"A query pool never holds {source} images.", todo="Use 'train', 'uniform' or another task."
            )
        self.task, self.seed = task, seed
        self.source = source if isinstance(source, str) else source.name
        images = task.normalize(_images(task, source, size, seed))
        self.inputs: Float[Tensor, "queries channels height width"] = images.to(device)

    def __len__(self) -> int:
        return len(self.inputs)

    def sample(
        self, count: int, generator: torch.Generator | None = None
    ) -> tuple[Int[Tensor, " count"], Float[Tensor, "count channels height width"]]:
        """Draw images without repetition.

        Args:
            count: How many; more than the pool has gives the whole pool.
            generator: Source of randomness; none uses the global one.

        Returns:
            Their positions in the pool and the images.
        """
        device = generator.device if generator is not None else "cpu"
        index = torch.randperm(len(self), generator=generator, device=device)[:count].to(self.inputs.device)
        return index, self.inputs[index]

    def __repr__(self) -> str:
        return f"QueryPool({len(self)} images of '{self.source}' for '{self.task.name}')"


def _images(task: Task, source: str | Task, size: int | None, seed: int) -> Tensor:
    if source == "uniform":
        shape = (size or 1024, *task.input_shape)
        return torch.rand(shape, generator=generator_of("queries", task.name, seed))
    other = task if source == "train" else source if isinstance(source, Task) else create_task(source)
    raw = other.raw("train")
    if other.sha256 != task.sha256:
        raw = _unseen(raw, task, other)
    if size is not None and size < len(raw):
        order = torch.randperm(len(raw), generator=generator_of("queries", other.name, seed))
        raw = raw[order[:size]]
    return fit_shape(raw, task.input_shape)


def _unseen(raw: Tensor, task: Task, other: Task) -> Tensor:
    """Leave out what are evaluation images of the task: the other one may be another split of its data."""
    held = {row for part in ("val", "test") for row in _rows(task.raw(part), task)}
    keep = torch.tensor([row not in held for row in _rows(raw, task)])
    if not keep.any():
        raise DataError(
            f"All training images of '{other.name}' are evaluation images of '{task.name}'.",
            todo="Choose another source of queries.",
        )
    return raw if keep.all() else raw[keep]


def _rows(images: Tensor, task: Task) -> Iterator[bytes]:
    """Write each image, brought to the task's shape, as bytes."""
    return (row.tobytes() for row in (fit_shape(images, task.input_shape) * 255).round().byte().numpy())


def fit_shape(
    images: Float[Tensor, "images _ _ _"], shape: tuple[int, int, int], mode: Literal["bilinear"] = "bilinear"
) -> Float[Tensor, "images channels height width"]:
    """Bring images to another number of channels (gray <-> color) and another size."""
    if images.shape[1] != shape[0]:
        images = images.mean(1, keepdim=True).expand(-1, shape[0], -1, -1)
    if images.shape[2:] != shape[1:]:
        images = F.interpolate(images, size=shape[1:], mode=mode, antialias=True)
    return images.clamp(0, 1)
