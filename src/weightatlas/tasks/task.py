"""What networks are trained on: images, labels, normalization, loss and score."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.registry import Registry
from weightatlas.tasks.images import check_images, check_parts, first_classes, resized, to_channels_first
from weightatlas.tasks.split import stratified, whole_groups

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
VAL_SHARE, SCALE = 0.1, 255.0


@dataclass(frozen=True, eq=False)
class Task:
    """Labelled images in three splits, with the normalization networks expect.

    Example:
        >>> task = create_task("digits")
        >>> task.input_shape, task.classes
        ((1, 8, 8), 10)

    Args:
        name: Name it can be created by again, together with `options`.
        images: Split -> bytes `(images, channels, height, width)`.
        labels: Split -> class numbers `(images,)`.
        classes: Number of classes.
        scale: Byte value that stands for full brightness.
        options: Options it was created with.
    """

    name: str
    images: Mapping[str, UInt8[np.ndarray, "images channels height width"]]
    labels: Mapping[str, Int[np.ndarray, " images"]]
    classes: int
    scale: float = SCALE
    options: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "classification"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.images["train"].shape
        return (channels, height, width)

    @cached_property
    def sha256(self) -> str:
        """Hash of all images, labels and their split."""
        digest = hashlib.sha256()
        for name in SPLITS:
            images, labels = self.images[name], self.labels[name]
            digest.update(f"{name}{images.shape}{self.scale}".encode())
            digest.update(np.ascontiguousarray(images).data)
            digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
        return digest.hexdigest()

    @cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        images = self.images["train"]
        means, stds = [], []
        for channel in range(images.shape[1]):
            counts = np.bincount(images[:, channel].ravel(), minlength=256).astype(np.float64)
            values = np.arange(256) / self.scale
            mean = float(counts @ values / counts.sum())
            means.append(mean)
            stds.append(max(float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum())), 1e-6))
        return tuple(means), tuple(stds)

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the training images, brightness in 0..1."""
        return self._moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over the training images."""
        return self._moments[1]

    def normalize(
        self, images: Float[Tensor, "images channels height width"]
    ) -> Float[Tensor, "images channels height width"]:
        """Bring images with brightness 0..1 to the scale the networks were trained on."""
        mean = torch.tensor(self.mean, dtype=images.dtype, device=images.device)[:, None, None]
        std = torch.tensor(self.std, dtype=images.dtype, device=images.device)[:, None, None]
        return (images - mean) / std

    def raw(self, name: str) -> Float[Tensor, "images channels height width"]:
        """Images of a split with brightness 0..1, not normalized."""
        self._check(name)
        return torch.from_numpy(self.images[name]).float() / self.scale

    def split(
        self, name: str
    ) -> tuple[Float[Tensor, "images channels height width"], Int[Tensor, " images"]]:
        """Normalized images and labels of a split.

        Args:
            name: "train", "val" or "test".

        Returns:
            Float32 images `(images, channels, height, width)` and int64 labels `(images,)`.

        Raises:
            DataError: There is no such split.
        """
        return self.normalize(self.raw(name)), torch.from_numpy(self.labels[name].astype(np.int64))

    def loss(
        self,
        outputs: Float[Tensor, "*networks images classes"],
        labels: Int[Tensor, "..."],
        reduction: Literal["mean", "sum", "none"] = "mean",
    ) -> Float[Tensor, "..."]:
        """Cross-entropy, reduced over images only: one number per network.

        Args:
            outputs: Logits, with any leading network axes.
            labels: Class numbers, `(images,)` or with the same leading axes.
            reduction: "mean" or "sum" over images, or "none".
        """
        labels = labels.expand(outputs.shape[:-1])
        flat = F.cross_entropy(outputs.flatten(0, -2), labels.flatten(), reduction="none")
        return _reduce(flat.view(outputs.shape[:-1]), reduction)

    def score(
        self, outputs: Float[Tensor, "*networks images classes"], labels: Int[Tensor, "..."]
    ) -> Float[Tensor, "*networks"]:
        """Accuracy per network."""
        return (outputs.argmax(-1) == labels).float().mean(-1)

    def _check(self, name: str) -> None:
        if name not in SPLITS:
            raise DataError(
                f"Task '{self.name}' has no split '{name}'.", todo=f"Splits: {', '.join(SPLITS)}."
            )

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.labels[name])} {name}" for name in SPLITS)
        return f"Task('{self.name}', {counts}, {self.classes} classes)"


tasks: Registry[Task] = Registry("task")


def create_task(name: str, **options: Any) -> Task:
    """Create a task by name.

    Args:
        name: A name from `tasks.names()`, or a reader and its path: "npz:PATH", "mnist-idx:FOLDER",
            "cifar10-bin:FOLDER", "cifar100-bin:FOLDER", "svhn-mat:FOLDER", "stl10-bin:FOLDER",
            "image-folder:FOLDER", "tiny-imagenet:FOLDER", "hf:NAME".
        options: `train_size`, `test_size` (stratified subsets of the images), `grayscale`, `image_size`,
            `classes` (the first so many), `seed` of the split; of all but "digits" also `val_share` (of the
            training images) and `scale` (byte value of full brightness).

    Raises:
        ConfigError: The name or an option is unknown.
        DataError: The data are missing or malformed.
        FileError: A file is damaged.
    """
    kind, colon, path = name.partition(":")
    return tasks.create(kind, path=path, **options) if colon else tasks.create(name, **options)


def build_task(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray] | None,
    *,
    train_size: int | None = None,
    test_size: int | None = None,
    grayscale: bool = False,
    image_size: int | None = None,
    classes: int | None = None,
    seed: int = 0,
    val_share: float = VAL_SHARE,
    scale: float = SCALE,
    groups: Int[np.ndarray, " images"] | None = None,
) -> Task:
    """Split images and labels into a task: seeded, stratified by class, no image in two splits.

    Args:
        name: Name of the task.
        train: Bytes `(images, height, width, channels)` and labels of the training images.
        test: The same for the official test images; none carves 20 % from the training images.
        train_size: Keep this many training images after carving.
        test_size: Keep this many test images.
        grayscale: Average the channels.
        image_size: Bring images to this height and width.
        classes: Keep images of the first so many classes.
        seed: Seed of the split.
        val_share: Share of the training images that becomes the validation split.
        scale: Byte value that stands for full brightness.
        groups: Number of a group for every training image, such as photographs of one object: a group is in
            one split. Validation images then are about as many as asked for.

    Raises:
        DataError: Labels and images disagree, test images have another shape, or there are fewer images
            than asked for or than three splits need.
    """
    # The path of a file takes no part in the split: a file that has moved gives the same task.
    kind = name.partition(":")[0]
    images, labels = check_images(name, *train)
    groups = groups if groups is None or classes is None else groups[labels < classes]
    images, labels = first_classes(name, images, labels, classes)
    test = None if test is None else first_classes(name, *check_images(name, *test), classes)
    order = np.arange(len(labels))
    if test is None:
        order, held_out = _carved(labels, groups, order, round(0.2 * len(labels)), kind, seed, "test")
        test = (images[held_out], labels[held_out])
    val_count = round(val_share * len(labels))
    order, val = _carved(labels, groups, order, val_count, kind, seed, "val")
    if train_size is not None:
        if not 0 < train_size <= len(order):
            raise DataError(
                f"Task '{name}' has {len(order)} training images, train_size asks for {train_size}.",
                todo=f"Choose train_size between 1 and {len(order)}.",
            )
        if train_size < len(order):
            _, order = stratified(labels, order, train_size, kind, seed, "train_size")
    parts = {"train": (images[order], labels[order]), "val": (images[val], labels[val])}
    parts["test"] = _fewer(name, *test, test_size, seed)
    ready = {key: to_channels_first(resized(part[0], image_size), grayscale) for key, part in parts.items()}
    check_parts(name, ready)
    sizes = {"train_size": train_size, "test_size": test_size}
    chosen = {**sizes, "grayscale": grayscale or None, "seed": seed or None}
    chosen |= {"image_size": image_size, "classes": classes}
    usual = {"val_share": (val_share, VAL_SHARE), "scale": (scale, SCALE)}
    chosen |= {key: value for key, (value, default) in usual.items() if value != default}
    return Task(
        name,
        ready,
        {key: part[1].astype(np.int64) for key, part in parts.items()},
        classes=int(max(part[1].max() for part in parts.values())) + 1,
        scale=float(scale),  # 16 and 16.0 are one task
        options={key: value for key, value in chosen.items() if value is not None},
    )


def _carved(
    labels: np.ndarray, groups: np.ndarray | None, order: np.ndarray, count: int, *seeds: object
) -> tuple[np.ndarray, np.ndarray]:
    """Take images out of `order`, whole groups if there are some."""
    if groups is None:
        return stratified(labels, order, count, *seeds)
    return whole_groups(labels, groups, order, count, *seeds)


def _fewer(
    name: str, images: np.ndarray, labels: np.ndarray, size: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Keep some of the test images, as evenly over the classes as the data are."""
    if size is None:
        return images, labels
    if not 0 < size <= len(labels):
        raise DataError(
            f"Task '{name}' has {len(labels)} test images, test_size asks for {size}.",
            todo=f"Choose test_size between 1 and {len(labels)}.",
        )
    _, kept = stratified(labels, np.arange(len(labels)), size, name.partition(":")[0], seed, "test_size")
    return images[kept], labels[kept]


def _reduce(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    return losses.mean(-1) if reduction == "mean" else losses.sum(-1)
