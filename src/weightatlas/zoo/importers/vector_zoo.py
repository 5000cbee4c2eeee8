"""Zoos as one matrix in PyTorch's order: weights.npy, metrics.csv and index_dict.json.

The form in which the 2021 and 2022 hyper-representation repositories (github.com/HSG-AIML) keep vectors:
per layer the weight, row by row, then the bias. index_dict.json says where each layer stands.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weightatlas.errors import DataError
from weightatlas.weights.vector import Signature
from weightatlas.zoo.importers.matrix_files import read_csv, read_matrix
from weightatlas.zoo.importers.registry import Block, Importer, Report, importers
from weightatlas.zoo.importers.schuerholt import architecture_of, shapes_of
from weightatlas.zoo.importers.states import read_json

_ROWS = 2048
_METRICS = {"train_accuracy": "train_acc", "test_accuracy": "test_acc", "val_accuracy": "val_acc"}
_FIXED = ("train_acc", "test_acc", "val_acc", "train_loss", "test_loss", "val_loss", "step")


@importers.register("vector_zoo")
class VectorZoo(Importer):
    """Rows of the matrix become networks; rows with one `modeldir` are one lineage."""

    name = "vector_zoo"
    title = "matrix zoos with index_dict.json (Schürholt et al., 2021)"
    loses = "nothing; networks run only if metrics.csv has a column config.activation"

    def recognizes(self, folder: Path) -> bool:
        files = [folder / name for name in ("weights.npy", "index_dict.json")]
        return all(path.is_file() for path in files) and not (folder / "layout.csv").is_file()

    def read(self, folder: Path, report: Report) -> Iterator[Block]:
        weights = read_matrix(folder / "weights.npy")
        where = str(folder / "index_dict.json")
        shapes = shapes_of(read_json(folder / "index_dict.json"), where)
        size = sum(torch.Size(shape).numel() for shape in shapes.values())
        if size != weights.shape[1]:
            raise DataError(f"{where} describes {size:,} numbers, weights.npy has {weights.shape[1]:,}.")
        columns = _columns(folder, len(weights), report)
        state = {name: torch.zeros(shape) for name, shape in shapes.items()}
        names = tuple(shapes)
        signature = Signature(
            names=names, dtypes=("float32",) * len(names), aliases=((),) * len(names), order=names
        )
        report.found += len(weights)
        activations = columns.get("hp.activation", [None] * len(weights))
        for activation in dict.fromkeys(activations):
            rows = [row for row, own in enumerate(activations) if own == activation]
            architecture = architecture_of(state, activation)
            for start in range(0, len(rows), _ROWS):
                part = rows[start : start + _ROWS]
                values = torch.from_numpy(np.asarray(weights[part], dtype=np.float32))
                own = {name: [column[row] for row in part] for name, column in columns.items()}
                yield Block(architecture, signature, values, own)


def _columns(folder: Path, rows: int, report: Report) -> dict[str, list[Any]]:
    """Read metrics.csv, if there is one."""
    files = [folder / name for name in ("metrics.csv", "metrics.csv.gz") if (folder / name).is_file()]
    columns: dict[str, list[Any]] = {"source": [f"weights.npy:{row}" for row in range(rows)]}
    runs, steps = [str(row) for row in range(rows)], [0] * rows
    if not files:
        report.notes.append(
            "There is no metrics.csv: networks have no properties, each is a lineage of its own."
        )
    else:
        table = read_csv(files[0])
        if len(table) != rows:
            raise DataError(f"{files[0]} has {len(table):,} rows, weights.npy has {rows:,} networks.")
        lines = table.rows()
        for name in table.names:
            values = [line[name] for line in lines]
            plain = _METRICS.get(name, name)
            key = plain if plain in _FIXED else f"hp.{plain.removeprefix('config.')}"
            columns[key] = values
        runs = [Path(str(run)).name for run in columns.pop("hp.modeldir", runs)]
        steps = [int(step or 0) for step in columns.get("step", steps)]
    columns |= {"network": list(runs), "lineage": list(runs)}
    return columns | {"id": [f"{run}-{step:04d}" for run, step in zip(runs, steps, strict=True)]}
