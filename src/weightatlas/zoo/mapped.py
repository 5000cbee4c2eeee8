"""Zoos larger than memory: their weights in one flat file that the system maps page by page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from weightatlas.atomic import replacing, write_text
from weightatlas.weights.batch import Batch, Weights
from weightatlas.zoo.labels import as_label
from weightatlas.zoo.zoo import Zoo

_PIECE_MB = 64.0  # copied at a time


def within(zoo: Zoo, path: Path, limit_mb: float, labels: Sequence[str] = ()) -> Batch:
    """Read a zoo if its weights fit, or return a batch whose weights stay in a file.

    Training reads rows in the same order either way, so the results are the same. Rows of a flat file
    are pages: reading them at random costs about what reading them shard by shard does.

    Args:
        zoo: Networks to train on.
        path: Where the file is made; it is used again if it holds the same networks.
        limit_mb: Weights up to this size are read into memory.
        labels: Columns to hand along.
    """
    total = sum(int((zoo._spec_keys() == (s.function_id or s.layout_id)).sum()) * s.params for s in zoo.specs)
    return zoo.batch(labels) if total * 4 <= limit_mb * 2**20 else mapped(zoo, path, labels)


def mapped(zoo: Zoo, path: Path, labels: Sequence[str] = ()) -> Batch:
    """Copy the weights of a view to a flat file, a piece at a time, and map it.

    Args:
        zoo: Networks.
        path: The file; one per spec, numbered, if there are several.
        labels: Columns to hand along.

    Returns:
        What `zoo.batch()` returns; its weights are read from the file when they are used.

    Raises:
        FileError: The disk is full or the folder cannot be written to.
    """
    groups = []
    found = {name: as_label(name, zoo.column(name)) for name in labels}
    for number, spec in enumerate(zoo.specs):
        rows = np.flatnonzero(zoo._spec_keys() == (spec.function_id or spec.layout_id))
        own = path.with_name(f"{path.name}.{number}")
        step = max(int(_PIECE_MB * 2**20 / (4 * max(spec.params, 1))), 1)
        _write(zoo, rows, own, step)
        values = torch.from_file(str(own), shared=False, size=len(rows) * spec.params, dtype=torch.float32)
        groups.append(Weights(values.view(len(rows), spec.params), spec, torch.from_numpy(rows)))
    return Batch(tuple(groups), found)


def _write(zoo: Zoo, rows: np.ndarray, path: Path, step: int) -> None:
    """Write the file, unless it is there whole; the list of networks beside it is written last.

    Names alone do not tell networks: the same folder of checkpoints, imported again, has the same names.
    """
    table, listed = zoo.table.take(rows), path.with_name(f"{path.name}.ids")
    pairs = zip(table.column("id").tolist(), table.column("shard_sha256").tolist(), strict=True)
    names = "\n".join(f"{name} {digest}" for name, digest in pairs)
    if path.exists() and listed.exists() and listed.read_text(encoding="utf-8") == names:
        return
    listed.unlink(missing_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        for start in range(0, len(rows), step):
            file.write(zoo[rows[start : start + step]].weights().values.numpy().data)
    write_text(listed, names)
