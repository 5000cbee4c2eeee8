"""Opening, filtering and reading a zoo, against a folder with one file per network and its properties."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from runner import Case, options, run

from weightatlas.zoo import Zoo
from weightatlas.zoo.index import rebuild_index
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import Recipe
from weightatlas.zoo.store import read_sidecar, shard_keys, write_shard

SHARD = 500
SEED = {
    "name": "speed",
    "task": "digits",
    "task_options": {"train_size": 96},
    "network": "digits_cnn",
    "epochs": 1,
    "grid": {"lr": [1e-3, 1e-2]},
    "replicates": 8,
}


def grown(folder: Path, rows: int) -> Path:
    """Make a zoo of many rows out of a few trained networks."""
    zoo = populate(Recipe.build(SEED), folder)
    base, values = read_sidecar(folder, shard_keys(folder)[0]), zoo.weights().values
    for start in range(len(zoo), rows, SHARD):
        count = min(SHARD, rows - start)
        place = np.arange(start, start + count) % len(base)
        names = [f"copy{n:07d}" for n in range(start, start + count)]
        table = base.take(place).with_column("id", names).with_column("network", names)
        write_shard(folder, f"copy{start:07d}", values[place] + 1e-3 * torch.randn(count, 1), table)
    rebuild_index(folder)
    return folder


def files(folder: Path, zoo: Zoo, rows: int) -> Path:
    """Store some rows as one file each, properties beside them."""
    folder.mkdir()
    weights, accuracy = zoo.weights(), zoo.column("test_acc")
    for row in range(rows):
        parts = {
            t.name: weights.values[row, weights.spec.slices[t.name]].clone() for t in weights.spec.tensors
        }
        torch.save(parts, folder / f"{row}.pt")
        (folder / f"{row}.json").write_text(json.dumps({"test_acc": float(accuracy[row])}))
    return folder


def case(folder: Path, rows: int) -> Case:
    """Read the better half of the networks."""
    zoo = Zoo.open(grown(folder / "zoo", rows))
    few = min(rows, 500)
    limit = float(np.median(zoo.column("test_acc")))
    loose = files(folder / "files", zoo, few)

    def ours() -> None:
        whole = Zoo.open(folder / "zoo")
        whole.filter(whole.column("test_acc") >= limit).weights()

    def plain() -> None:
        found = []
        for path in sorted(loose.glob("*.json")):
            if json.loads(path.read_text())["test_acc"] >= limit:
                state = torch.load(path.with_suffix(".pt"), weights_only=True)
                found.append(torch.cat([value.flatten() for value in state.values()]))
        torch.stack(found)

    return Case(
        "open, filter and read a zoo", f"digits_cnn, rows={rows}", ours, plain, "one file each", rows, few
    )


def cases(quick: bool, folder: Path) -> Iterator[Case]:
    """All cases, small ones first."""
    for rows in (32,) if quick else (1000, 10000):
        own = folder / str(rows)
        own.mkdir()
        yield case(own, rows)


if __name__ == "__main__":
    args = options(__doc__)
    with tempfile.TemporaryDirectory() as place:
        run(cases(args.quick, Path(place)), args.repeats, args.out, "python speed/zoos.py")
