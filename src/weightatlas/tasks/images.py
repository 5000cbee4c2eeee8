"""Images as they are read -> images as a task has them: checked, of some classes, resized, gray."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F

from weightatlas.errors import DataError


def check_images(name: str, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Refuse images and labels that do not fit each other; add a channel axis to gray images.

    Raises:
        DataError: Wrong type, wrong number of axes, unequal lengths, no images, or negative labels.
    """
    problems = []
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        expected = "uint8 (images, height, width[, channels])"
        problems.append(f"images are {images.dtype} {images.shape}, expected {expected}")
    if labels.ndim != 1 or labels.shape != images.shape[:1] or len(labels) == 0:
        count = images.shape[0] if images.ndim else 0
        problems.append(f"there are {count} images and labels of shape {labels.shape}")
    elif not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        problems.append(f"labels are {labels.dtype} from {labels.min()}, expected integers from 0")
    if problems:
        raise DataError(f"Task '{name}': " + "; ".join(problems) + ".", todo="Repair the file.")
    return (images if images.ndim == 4 else images[..., None]), labels


def check_parts(name: str, parts: Mapping[str, np.ndarray]) -> None:
    """Refuse splits without images, or with images of different shapes.

    Raises:
        DataError: One of the two is the case.
    """
    count, shape = sum(map(len, parts.values())), parts["train"].shape[1:]
    problems = [
        f"of {count} images none is left for {key}" for key, images in parts.items() if not len(images)
    ]
    problems += [
        f"{key} images are {images.shape[1:]}, training images {shape} (channels, height, width)"
        for key, images in parts.items()
        if images.shape[1:] != shape
    ]
    if problems:
        todo = "Give more images, or bring all to one shape: image_size, grayscale."
        raise DataError(f"Task '{name}': " + "; ".join(problems) + ".", todo=todo)


def first_classes(
    name: str, images: np.ndarray, labels: np.ndarray, classes: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Keep the images of the first classes; their numbers stay.

    Raises:
        DataError: There are fewer classes, or one to keep has no images.
    """
    if classes is None:
        return images, labels
    kept = labels < classes
    found = len(np.unique(labels[kept]))
    if classes < 2 or found < classes:
        raise DataError(
            f"Task '{name}' was to keep {classes} classes, of which {found} have images.",
            todo=f"Choose classes between 2 and {int(labels.max()) + 1}.",
        )
    return images[kept], labels[kept]


def resized(images: np.ndarray, size: int | None) -> np.ndarray:
    """Bring images to a square size: bilinear, with antialiasing when they shrink.

    Example:
        >>> resized(np.full((2, 8, 8, 3), 7, np.uint8), 4).shape
        (2, 4, 4, 3)

    Args:
        images: Bytes `(images, height, width, channels)`.
        size: Height and width; none leaves images as they are.

    Raises:
        DataError: The size is below one.
    """
    if size is None or images.shape[1:3] == (size, size):
        return images
    if size < 1:
        raise DataError(f"Images cannot be brought to {size} x {size} pixels.")
    parts = []
    for chunk in torch.from_numpy(images).split(4096):
        moved = chunk.permute(0, 3, 1, 2).float()
        small = F.interpolate(moved, (size, size), mode="bilinear", antialias=True, align_corners=False)
        parts.append(small.round().clamp(0, 255).byte().permute(0, 2, 3, 1))
    return torch.cat(parts).numpy()


def to_channels_first(images: np.ndarray, grayscale: bool) -> np.ndarray:
    """Bring NHWC bytes to NCHW, averaging the channels if asked."""
    if grayscale and images.shape[-1] > 1:
        images = images.mean(-1, keepdims=True).round().astype(np.uint8)
    # Arrays over the bytes of a file cannot be written to, which torch warns about.
    return np.require(images.transpose(0, 3, 1, 2), requirements=["C", "W"])
