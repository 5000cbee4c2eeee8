"""Known properties of foreign checkpoints: one row per file, from CSV or JSON."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightatlas.errors import DataError, FileError

_TEXT = ("lineage", "split_official", "task", "parent", "network")
_OURS = (
    "id",
    "layout_id",
    "function_id",
    "signature",
    "seed",
    "init_seed",
    "lineage_source",
    "split",
    "source",
    "source_network",
    "source_format",
    "source_renames",
    "counters",
)
_DROPPED = (*_TEXT, *_OURS, "finite", "generalization_gap", "shard", "row", "shard_bytes", "shard_sha256")
_NUMBERS = ("step", "train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc")


def label_columns(labels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Bring the columns of a metrics file to the fixed names; unknown ones become `hp.*`."""
    names = dict.fromkeys(name for label in labels for name in label if name not in _DROPPED)
    columns: dict[str, Any] = {"step": [0] * len(labels)}
    for name in names:
        values = [label.get(name) for label in labels]
        numeric = [_number(value) for value in values]
        plain = name in _NUMBERS or all(n is not None for n, v in zip(numeric, values, strict=True) if v)
        fixed = name in _NUMBERS or name.startswith("hp.")
        columns[name if fixed else f"hp.{name}"] = numeric if plain else values
    columns["step"] = [int(value or 0) for value in columns["step"]]
    if {"train_acc", "test_acc"} <= set(columns):
        pairs = zip(columns["train_acc"], columns["test_acc"], strict=True)
        columns["generalization_gap"] = [None if a is None or b is None else a - b for a, b in pairs]
    return columns


def read_metrics(path: Path) -> dict[str, dict[str, Any]]:
    """Read one row per file from CSV (with header) or JSON (list of objects, or object by file).

    Raises:
        FileError: It cannot be read.
        DataError: There is no column `file`.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rows = json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read: {error}.", todo="Give a CSV or JSON file.") from None
    if isinstance(rows, dict):
        rows = [{"file": name, **row} for name, row in rows.items()]
    if not rows or any("file" not in row for row in rows):
        raise DataError(f"{path} has no column 'file'.", todo="Name the checkpoint of every row in 'file'.")
    return {
        row["file"]: {k: v for k, v in row.items() if k != "file" and v not in ("", None)} for row in rows
    }


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
