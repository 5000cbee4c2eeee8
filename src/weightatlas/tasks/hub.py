"""Data sets of the Hugging Face hub, by the extra `data`."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from weightatlas.errors import ConfigError, DataError
from weightatlas.tasks.readers import Arrays
from weightatlas.tasks.task import Task, build_task, tasks

_IMAGES = ("image", "img", "pixel_values")
_LABELS = ("label", "labels", "fine_label", "target")


@tasks.register("hf")
def hub_task(
    path: str, config: str | None = None, image: str | None = None, label: str | None = None, **options: Any
) -> Task:
    """A data set of the hub, or a local folder of one: `hf:ylecun/mnist`, `hf:./my-folder`.

    Args:
        path: Name on the hub, or a folder that `datasets.load_dataset` knows.
        config: Configuration of the data set, if it has several.
        image: Column of the images; guessed if none.
        label: Column of the labels; guessed if none.
        options: See `create_task`; `image_size` is needed if images differ in size.

    Raises:
        ConfigError: The package `datasets` is not installed.
        DataError: It cannot be loaded, or has no training images or no such columns.
    """
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    except ImportError:
        todo = "Install it: pip install 'weightatlas[data]'"
        raise ConfigError(f"The task 'hf:{path}' needs the package datasets.", todo=todo) from None
    try:
        found = load_dataset(path, config)
    except Exception as error:  # Whatever the package raises: no network, no such name, a damaged file.
        what = f"The data set '{path}' cannot be loaded: {str(error).splitlines()[0]}."
        raise DataError(what, todo="Check the name, or pass a local folder.") from error
    task = task_of_parts(f"hf:{path}", found, image, label, options)
    own = {"config": config, "image": image, "label": label}
    return replace(task, options={**task.options, **{key: value for key, value in own.items() if value}})


def task_of_parts(
    name: str,
    parts: Mapping[str, Any],
    image: str | None,
    label: str | None,
    options: Mapping[str, Any],
) -> Task:
    """Make a task of the parts of a data set; rows are mappings from columns to values.

    Args:
        name: Name of the task.
        parts: "train" and, if there are official ones, "test" or "validation" -> rows.
        image: Column of the images; guessed if none.
        label: Column of the labels; guessed if none.
        options: See `create_task`.

    Raises:
        DataError: There are no training rows, or no such columns.
    """
    if "train" not in parts:
        known = ", ".join(parts) or "nothing"
        raise DataError(f"'{name}' has no part 'train', only {known}.")
    size = options.get("image_size")
    train = _arrays(name, parts["train"], image, label, size)
    tests = [part for part in ("test", "validation", "valid") if part in parts]
    test = _arrays(name, parts[tests[0]], image, label, size) if tests else None
    return build_task(name, train, test, **options)


def _arrays(
    name: str, rows: Iterable[Mapping[str, Any]], image: str | None, label: str | None, size: int | None
) -> Arrays:
    """Read all rows of one part."""
    images, labels = [], []
    for row in rows:
        keys = [_column(name, row, wanted, known) for wanted, known in ((image, _IMAGES), (label, _LABELS))]
        images.append(_pixels(row[keys[0]], size))
        labels.append(int(row[keys[1]]))
    shapes = {one.shape for one in images}
    if len(shapes) != 1:
        what = "has no images" if not shapes else f"has images of {len(shapes)} sizes"
        raise DataError(f"'{name}' {what}.", todo="Give image_size=32.")
    return np.stack(images), np.array(labels, dtype=np.int64)


def _column(name: str, row: Mapping[str, Any], wanted: str | None, known: tuple[str, ...]) -> str:
    found = [key for key in ((wanted,) if wanted else known) if key in row]
    if not found:
        what = f"'{name}' has no column {wanted or ' or '.join(known)}; it has {', '.join(row)}."
        raise DataError(what, todo="Name it: image=..., label=...")
    return found[0]


def _pixels(value: Any, size: int | None) -> np.ndarray:
    """Turn an image of Pillow, or an array, into bytes with a channel axis."""
    if hasattr(value, "convert"):
        value = value if value.mode in ("L", "RGB") else value.convert("RGB")
        value = value if size is None else value.resize((size, size))
    pixels = np.asarray(value, dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]
