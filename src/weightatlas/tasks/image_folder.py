"""Folders of images, one folder a class: EuroSAT, ImageNet's form, and Tiny-ImageNet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weightatlas.errors import DataError, FileError
from weightatlas.tasks.task import Task, build_task, tasks

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
_TESTS = ("test", "val", "valid", "validation")


@tasks.register("image-folder")
def image_folder_task(path: str, **options: Any) -> Task:
    """A folder with one folder per class (EuroSAT), or with `train` and `test` (or `val`) of that form.

    Classes are numbered in alphabetical order. Without a folder of test images 20 % are carved out.

    Args:
        path: The folder.
        options: See `create_task`; `image_size` is needed if images differ in size.
    """
    folder = Path(path)
    size = options.get("image_size")
    train = folder / "train" if (folder / "train").is_dir() else folder
    names = class_names(train)
    files, labels = _listed(train, names)
    tests = [folder / name for name in _TESTS if train != folder and (folder / name).is_dir()]
    test = None
    if tests:
        test_files, test_labels = _listed(tests[0], names)
        test = (read_images(test_files, size), test_labels)
    return build_task(f"image-folder:{path}", (read_images(files, size), labels), test, **options)


@tasks.register("tiny-imagenet")
def tiny_imagenet_task(path: str, **options: Any) -> Task:
    """The folder tiny-imagenet-200: train/WNID/images/*.JPEG, val/images with val_annotations.txt, wnids.txt.

    Test images are the official validation images, whose labels are public. Classes are numbered in the
    order of wnids.txt; `classes` keeps the first so many.

    Args:
        path: The folder.
        options: See `create_task`.
    """
    folder = Path(path)
    size, kept = options.get("image_size"), options.get("classes")
    names = _lines(folder / "wnids.txt")[:kept]
    number = {name: index for index, name in enumerate(names)}
    files: list[Path] = []
    labels: list[int] = []
    for name in names:
        own = _images(folder / "train" / name / "images")
        files += own
        labels += [number[name]] * len(own)
    rows = [line.split("\t") for line in _lines(folder / "val" / "val_annotations.txt")]
    held = [(row[0], number[row[1]]) for row in rows if len(row) > 1 and row[1] in number]
    val = [folder / "val" / "images" / name for name, _ in held]
    test = (read_images(val, size), np.array([label for _, label in held], dtype=np.int64))
    train = (read_images(files, size), np.array(labels, dtype=np.int64))
    return build_task(f"tiny-imagenet:{path}", train, test, **options)


def class_names(folder: Path) -> list[str]:
    """List the folders that hold images, in alphabetical order.

    Raises:
        DataError: The folder is missing, or there are fewer than two.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", todo="Check the path.")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and _images(path))
    if len(names) < 2:
        raise DataError(
            f"{folder} has {len(names)} folders with images, a task needs at least 2 classes.",
            todo="Pass the folder whose folders are the classes.",
        )
    return names


def read_images(files: Sequence[Path], size: int | None = None) -> np.ndarray:
    """Read images as RGB bytes.

    Args:
        files: Image files.
        size: Height and width all are brought to; none if all have the same already.

    Returns:
        Bytes `(images, height, width, 3)`.

    Raises:
        FileError: A file is damaged or no image.
        DataError: There are none, or sizes differ and no size was given.
    """
    from PIL import Image, UnidentifiedImageError

    found: list[np.ndarray] = []
    for path in files:
        try:
            with Image.open(path) as image:
                plain = image.convert("RGB")
                plain = plain if size is None else plain.resize((size, size), Image.Resampling.BILINEAR)
                found.append(np.asarray(plain, dtype=np.uint8))
        except FileNotFoundError:
            raise DataError(f"There is no image {path}.", todo="Unpack the data set again.") from None
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
            raise FileError(f"{path} cannot be read as an image: {error}.", todo="Copy it again.") from None
        if found[0].shape != found[-1].shape:
            sizes = " and ".join(f"{one.shape[1]} x {one.shape[0]}" for one in (found[0], found[-1]))
            raise DataError(f"Images have different sizes: {sizes} ({path}).", todo="Give image_size=32.")
    if not found:
        raise DataError("There are no images to read.", todo="Check the path.")
    return np.stack(found)


def _listed(folder: Path, names: Sequence[str]) -> tuple[list[Path], np.ndarray]:
    """List the images of all classes."""
    files = [(path, label) for label, name in enumerate(names) for path in _images(folder / name)]
    return [path for path, _ in files], np.array([label for _, label in files], dtype=np.int64)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    except OSError:
        raise DataError(f"There is no {path}.", todo="Pass the folder tiny-imagenet-200.") from None
