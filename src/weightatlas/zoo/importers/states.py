"""State dicts among other things in files of torch.save, and splits published as JSON lists of paths."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from weightatlas.errors import DataError, FileError
from weightatlas.weights.files.leaf import Leaf, read_leaf
from weightatlas.weights.files.records import open_records
from weightatlas.weights.files.zip_file import allowed

_LEAVES = ("weight", "bias")
PARTS = ("train", "val", "test")


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors called weight and bias, and everything else as plain values.

    Args:
        path: A file of torch.save with one dictionary.

    Returns:
        Name -> tensor in the file's order; key -> number, text or list of numbers.

    Raises:
        FileError: It is damaged, unsafe, or holds no tensors.
    """
    with open_records(path, ()) as content:
        if not isinstance(content, dict):
            raise FileError(f"{path} holds no dictionary of tensors.")
        state = take_state(content, path)
        others = {key: _plain(value) for key, value in content.items() if key not in state}
    return state, others


def take_state(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Read the leaves of one state dict.

    Raises:
        FileError: There are none, or they would take far more memory than the file has bytes.
    """
    leaves = {
        key: value
        for key, value in content.items()
        if isinstance(value, Leaf) and key.rpartition(".")[2] in _LEAVES
    }
    if not leaves:
        raise FileError(f"{path} holds no tensors called weight or bias.")
    if sum(leaf.size for leaf in leaves.values()) * 4 > allowed(path.stat().st_size):
        raise FileError(f"{path}: its tensors would take far more memory than the file has bytes.")
    return {key: read_leaf(leaf, key)[0] for key, leaf in leaves.items()}


def _plain(value: Any) -> Any:
    """Turn a small tensor into numbers; larger ones and containers are left out."""
    if isinstance(value, Leaf):
        return value.load().reshape(-1).tolist() if value.size <= 16 else None
    return value if isinstance(value, str | int | float | bool) else None


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        FileError: It is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read as JSON.", where=str(error)[:200]) from None


def read_splits(path: Path) -> dict[str, list[tuple[str, Any]]]:
    """Read a published split: part -> (path, label), labels none where the file has none.

    Two forms are published: `{"train": [paths], ...}` and `{"train": {"path": [...], "label": [...]}, ...}`;
    in the second, "score" may stand for "label".

    Raises:
        DataError: It has another form, or lists of unequal length.
        FileError: It is damaged.
    """
    content = read_json(path)
    parts = {part: content[part] for part in PARTS if part in content} if isinstance(content, dict) else {}
    if not parts:
        raise DataError(f"{path} names no train, val or test part.", todo="Pass the published split.")
    found: dict[str, list[tuple[str, Any]]] = {}
    for part, entry in parts.items():
        paths = entry.get("path", []) if isinstance(entry, dict) else entry
        labels = entry.get("label", entry.get("score")) if isinstance(entry, dict) else None
        labels = [None] * len(paths) if labels is None else labels
        if len(labels) != len(paths):
            raise DataError(f"{path}: '{part}' has {len(paths)} paths and {len(labels)} labels.")
        found[part] = list(zip(map(str, paths), labels, strict=True))
    return found


def assign(
    splits: Mapping[str, Iterable[tuple[str, Any]]], files: Iterable[str]
) -> tuple[dict[str, tuple[str, Any]], int]:
    """Find the part of each file; published paths are those of another machine, so their ends are compared.

    Example:
        >>> splits = {"train": [("/home/them/zoo/a/x.pth", 3)], "test": [("zoo/gone.pth", 1)]}
        >>> assign(splits, ["a/x.pth", "b/y.pth"])
        ({'a/x.pth': ('train', 3)}, 1)

    Args:
        splits: Part -> (path, label).
        files: Paths relative to the folder.

    Returns:
        File -> (part, label), and how many published paths are not there.
    """
    known, found, missing = set(files), {}, 0
    for part, entries in splits.items():
        for path, label in entries:
            pieces = Path(path).parts
            ends = ("/".join(pieces[start:]) for start in range(len(pieces)))
            match = next((end for end in ends if end in known), None)
            missing += match is None
            if match is not None:
                found[match] = (part, label)
    return found, missing
