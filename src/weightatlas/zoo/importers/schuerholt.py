"""What the zoos of Schürholt et al. share: names of architectures and settings, flat vectors, splits."""

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightatlas.errors import ConfigError, DataError, FileError
from weightatlas.weights.files.records import Record, open_records, plain_value
from weightatlas.zoo.importers.registry import Architecture, bare_architecture, fits, known_architecture

HYPER = {
    "optim::lr": "lr",
    "optim::wd": "weight_decay",
    "optim::optimizer": "optimizer",
    "optim::momentum": "momentum",
    "model::nlin": "activation",
    "model::dropout": "dropout",
    "model::init_type": "init",
    "training::batchsize": "batch_size",
    "seed": "seed",
}
CLASSES = (
    *("checkpoints_to_datasets.", "ghrp.", "SANE.", "shrp.", "model_definitions.", "torch.utils.data."),
    *("torch._six.", "ray.", "git_re_basin.", "pathlib."),
)
_ACTIVATIONS = {"leakyrelu": "leaky_relu"}
_NETWORKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("cnn_small", {"image_size": 28}),
    ("cnn_small", {"image_size": 28, "widths": [6, 9, 6]}),
    ("cnn3", {"image_size": 32}),
    ("lenet5", {"image_size": 32}),
    ("cnn_unterthiner", {"image_size": 32}),
)


def architecture_of(state: Mapping[str, Tensor], activation: Any) -> Architecture:
    """Find the network of the library that has the shapes of a state dict, with its published activation.

    Without an activation, or without such a network, the layout is inferred; it then has no function.

    Args:
        state: Name -> tensor, in the order of the layers.
        activation: In the words of the zoo ("tanh", "leakyrelu", ...), or none.
    """
    first = next(iter(state.values()), None)
    if first is None or first.ndim != 4 or not isinstance(activation, str):
        return bare_architecture(state)
    named = _ACTIVATIONS.get(activation, activation)
    last = list(state.values())[-1]
    for name, options in _NETWORKS:
        try:
            found = known_architecture(
                name, channels_in=first.shape[1], classes=last.shape[0], activation=named, **options
            )
        except ConfigError:
            return bare_architecture(state)
        if fits(state, found):
            return found
    return bare_architecture(state)


def shapes_of(index: Mapping[str, Any], where: str) -> dict[str, tuple[int, ...]]:
    """Read the shapes of all tensors from an index_dict.json.

    Example:
        >>> small = {"layer": [[0, "conv2d"], [3, "fc"]], "idx_start": [0, 10], "idx_length": [10, 18]}
        >>> small |= {"kernel_no": [1, 2], "kernel_size": [9, 4], "channels_in": [1, 2]}
        >>> shapes_of(small, "here")["module_list.3.weight"]
        (2, 8)

    Args:
        index: `layer`, `idx_start`, `idx_length`, `kernel_no`, `kernel_size`, `channels_in`, a list each.
        where: The file, for messages.

    Raises:
        DataError: A list is missing, lengths differ, or sizes contradict each other.
    """
    keys = ("layer", "idx_start", "idx_length", "kernel_no", "kernel_size", "channels_in")
    missing = [key for key in keys if not isinstance(index.get(key), list)]
    if missing or len({len(index[key]) for key in keys}) != 1:
        raise DataError(f"{where} lacks {', '.join(missing) or 'lists of equal length'}.")
    shapes: dict[str, tuple[int, ...]] = {}
    place = 0
    for (number, kind), start, length, rows, kernel, channels in zip(
        *(index[key] for key in keys), strict=True
    ):
        side = isqrt(kernel)
        convolution = "conv" in str(kind)
        if start != place or length != rows * (channels * kernel + 1) or (convolution and side**2 != kernel):
            what = f"layer {number} has {length} numbers from {start}"
            raise DataError(f"{where}: {what}; its sizes say {rows * (channels * kernel + 1)} from {place}.")
        place += length
        shapes[f"module_list.{number}.weight"] = (
            (rows, channels, side, side) if convolution else (rows, channels * kernel)
        )
        shapes[f"module_list.{number}.bias"] = (rows,)
    return shapes


def cut(vector: Tensor, shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, Tensor]:
    """Cut a flat vector (per layer the weight, then the bias) into named tensors.

    Raises:
        DataError: It has another length.
    """
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]
    if vector.numel() != sum(sizes):
        raise DataError(f"{where} has {vector.numel():,} numbers, its layers have {sum(sizes):,}.")
    parts = vector.reshape(-1).split(sizes)
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def official_runs(path: Path) -> dict[str, str]:
    """Read which run belongs to which part from a dataset.pt beside a zoo: its samples remember their paths.

    Args:
        path: A pickled `{"trainset": ..., "valset": ..., "testset": ...}`; nothing in it is executed.

    Returns:
        Name of the run's folder -> part; empty if the file holds images instead.

    Raises:
        FileError: It is damaged or names other classes.
    """
    found: dict[str, str] = {}
    with open_records(path, CLASSES) as content:
        for key, part in (("trainset", "train"), ("valset", "val"), ("testset", "test")):
            inside = content.get(key) if isinstance(content, dict) else None
            paths = inside.fields.get("paths") if isinstance(inside, Record) else None
            for one in paths or []:
                found[str(plain_value(one)).rstrip("/").rpartition("/")[2]] = part
    return found


def official_of(folder: Path, notes: list[str]) -> dict[str, str]:
    """Find the published split of a zoo folder, or say that there is none."""
    for path in sorted(folder.glob("dataset*.pt")):
        try:
            found = official_runs(path)
        except FileError as error:
            notes.append(f"{path.name} was not used for the split: {error.what}")
            continue
        if found:
            return found
    notes.append(
        "No dataset.pt with a split beside the runs: there is no official split, only one by lineage."
    )
    return {}
