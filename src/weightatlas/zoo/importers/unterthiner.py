"""The small CNN zoo of Unterthiner et al. (2020): weights.npy, metrics.csv.gz, layout.csv.

Facts of the format: github.com/google-research/google-research, dnn_predict_accuracy; the official split is
that of github.com/AllanYangZhou/nfn, experiments/predict_gen_data_splits (a CSV to put beside the files).
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from weightatlas.errors import ConfigError, DataError, FileError
from weightatlas.weights.vector import Signature
from weightatlas.zoo.importers.matrix_files import read_csv, read_matrix
from weightatlas.zoo.importers.registry import (
    Architecture,
    Block,
    Importer,
    Report,
    bare_architecture,
    importers,
    known_architecture,
)
from weightatlas.zoo.importers.tf_layout import TfLayout, read_layout
from weightatlas.zoo.table import Table

_ROWS = 2048
_SIDES = {"mnist": 28, "fashion_mnist": 28}  # all other data sets have 32 x 32 pixels
_HYPER = {
    "learning_rate": "lr",
    "w_init": "init",
    "l2reg": "l2reg",
}
_INIT = {"he_normal": "kaiming_normal", "RandomNormal": "normal", "TruncatedNormal": "truncated_normal"}
_METRICS = {
    "train_accuracy": "train_acc",
    "test_accuracy": "test_acc",
    "train_loss": "train_loss",
    "test_loss": "test_loss",
}
_DROPPED = ("random_seed", "num_layers", "num_units", "dnn_architecture", "epochs_between_checkpoints")


@importers.register("unterthiner")
class Unterthiner(Importer):
    """TensorFlow order becomes PyTorch's; the inverse is kept in the zoo (`tf_layout.layout_of`)."""

    name = "unterthiner"
    title = "small CNN zoo (Unterthiner et al., 2020)"
    loses = "nothing of weights and metrics; images are not part of it (scaled to [-1, 1], one gray channel)"

    def recognizes(self, folder: Path) -> bool:
        return all((folder / name).is_file() for name in ("weights.npy", "layout.csv")) and bool(
            _metrics_file(folder)
        )

    def read(self, folder: Path, report: Report) -> Iterator[Block]:
        weights = read_matrix(folder / "weights.npy")
        layout = read_layout(folder / "layout.csv", weights.shape[1])
        found = _metrics_file(folder)
        if found is None:
            raise FileError(f"There is no metrics.csv.gz in {folder}.", todo="Download the whole folder.")
        table = read_csv(found)
        if len(table) != len(weights):
            what = f"{found} has {len(table):,} rows, weights.npy has {len(weights):,} networks."
            raise DataError(what, where=f"In {folder}.", todo="Download the folder again.")
        report.found += len(weights)
        report.facts["layout"] = [list(part) for part in layout.tensors]
        columns = _columns(table)
        official = _official(folder, table, weights, report)
        architectures = _architectures(layout, columns, report)
        yield from _blocks(weights, layout, columns, official, architectures)


def _blocks(
    weights: np.ndarray,
    layout: TfLayout,
    columns: dict[str, list[Any]],
    official: list[str | None],
    architectures: list[Architecture],
) -> Iterator[Block]:
    """Cut the matrix into blocks of one architecture, in the order of the file."""
    names = tuple(layout.shapes)
    signature = Signature(
        names=names, dtypes=("float32",) * len(names), aliases=((),) * len(names), order=names
    )
    groups: dict[str, list[int]] = {}
    for row, one in enumerate(architectures):
        groups.setdefault(one.key, []).append(row)
    for rows in groups.values():
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            values = layout.to_torch(torch.from_numpy(np.asarray(weights[part], dtype=np.float32)))
            own = {name: [column[row] for row in part] for name, column in columns.items()}
            own["split_official"] = [official[row] for row in part]
            own["source"] = [f"weights.npy:{row}" for row in part]
            yield Block(architectures[part[0]], signature, values, own)


def _columns(table: Table) -> dict[str, list[Any]]:
    """Bring the columns of metrics.csv to their usual names."""
    rows = table.rows()
    runs = [Path(str(row.get("modeldir", index))).name for index, row in enumerate(rows)]
    steps = [int(row["step"]) for row in rows]
    pairs = list(zip(runs, steps, strict=True))
    columns: dict[str, list[Any]] = {
        "id": [f"{run}-{step:04d}" for run, step in pairs],
        "network": list(runs),
        "lineage": list(runs),
        "step": list(steps),
    }
    for name in table.names:
        values = [row[name] for row in rows]
        if name in _METRICS:
            columns[_METRICS[name]] = values
        elif name.startswith("config.") and name[7:] not in _DROPPED:
            columns[f"hp.{_HYPER.get(name[7:], name[7:])}"] = values
    if "hp.init" in columns:
        columns["hp.init"] = [_INIT.get(value, value) for value in columns["hp.init"]]
    if "hp.l2reg" in columns:  # The penalty's gradient is twice the penalty's factor.
        columns["hp.weight_decay"] = [None if v is None else 2 * v for v in columns["hp.l2reg"]]
    return columns


def _architectures(layout: TfLayout, columns: dict[str, list[Any]], report: Report) -> list[Architecture]:
    """Find what each network computes from the shapes, its activation and its data set."""
    shapes = list(layout.shapes.values())
    count = len(columns["id"])
    activations = columns.get("hp.activation", ["relu"] * count)
    sets = columns.get("hp.dataset", ["cifar10"] * count)
    made: dict[tuple[Any, Any], Architecture] = {}
    for pair in dict.fromkeys(zip(activations, sets, strict=True)):
        made[pair] = _architecture(layout, shapes, *pair, report)
    return [made[pair] for pair in zip(activations, sets, strict=True)]


def _architecture(
    layout: TfLayout, shapes: Sequence[tuple[int, ...]], activation: Any, data: Any, report: Report
) -> Architecture:
    try:
        side = _SIDES.get(str(data), 32)
        options = {"channels_in": shapes[0][1], "image_size": side, "classes": shapes[-1][0]}
        found = known_architecture("cnn_unterthiner", activation=str(activation), **options)
        if [tensor.shape for tensor in found.spec.tensors] == list(shapes):
            return found
    except (ConfigError, IndexError):
        pass
    report.notes.append(
        f"Networks with activation '{activation}' have other shapes than the published CNN or an unknown "
        "activation: they can be compared and predicted from, but not run."
    )
    return bare_architecture({name: torch.zeros(shape) for name, shape in layout.shapes.items()})


def _official(folder: Path, table: Table, weights: np.ndarray, report: Report) -> list[str | None]:
    """Apply the official split, if its CSV is there: all checkpoints of a run follow its last one."""
    rows = len(weights)
    files = sorted(folder.glob("*_split.csv")) + sorted(folder.glob("split.csv"))
    if not files:
        report.notes.append(
            "No *_split.csv beside the files: there is no official split, only one by lineage."
        )
        return [None] * rows
    order = read_order(files[0], rows)
    steps, runs = table.column("step"), table.column("modeldir")
    last = steps[order] == steps.max()
    final = order[last]
    final = final[[bool(np.isfinite(weights[row]).all()) for row in final]]
    half = len(final) // 2
    front = list(range(half))
    random.Random(0).shuffle(front)
    cut = int(0.8 * half)
    parts = dict.fromkeys(front[:cut], "train") | dict.fromkeys(front[cut:], "val")
    named = {runs[row]: parts.get(place, "test") for place, row in enumerate(final)}
    return [named.get(run) for run in runs]


def read_order(path: Path, rows: int) -> Int[np.ndarray, " rows"]:
    """Read the order of rows behind the official split; a header line "0" is left out.

    Raises:
        DataError: It is no order of that many rows.
        FileError: It cannot be read.
    """
    try:
        numbers = [int(line) for line in path.read_text(encoding="utf-8").split()]
    except (OSError, ValueError) as error:
        raise FileError(f"{path} is no list of row numbers.", where=str(error)[:200]) from None
    if numbers[:1] == [0] and 0 in numbers[1:]:
        numbers = numbers[1:]
    order = np.array(numbers, dtype=np.int64)
    if len(order) != rows or not np.array_equal(np.sort(order), np.arange(rows)):
        what = f"{path} orders {len(order):,} rows, weights.npy has {rows:,}."
        raise DataError(what, todo="Use the split of this data set.")
    return order


def _metrics_file(folder: Path) -> Path | None:
    found = [folder / name for name in ("metrics.csv.gz", "metrics.csv") if (folder / name).is_file()]
    return found[0] if found else None
