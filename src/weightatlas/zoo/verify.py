"""Is a zoo what it says it is? Every byte, finiteness, and the stored metrics of a sample."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from weightatlas.errors import DataError, FileError, NoCode, WeightAtlasError
from weightatlas.population.score import score
from weightatlas.progress import track
from weightatlas.runtime import numpy_generator_of
from weightatlas.zoo.header import read_header
from weightatlas.zoo.store import leftovers, read_sidecar, read_weights, shard_keys, weights_path

if TYPE_CHECKING:
    from weightatlas.zoo.zoo import Zoo


@dataclass(frozen=True)
class Verification:
    """What was checked and what was found.

    Args:
        shards: Shards read.
        rows: Networks read.
        rescored: Networks whose metrics were measured again.
        problems: One sentence per problem; none means the zoo is whole.
        notes: What could not be checked, and leftovers of interrupted runs, which are harmless.
    """

    shards: int
    rows: int
    rescored: int
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(zoo: "Zoo", sample: int = 16, seed: int = 0) -> Verification:
    """Check the whole folder of a zoo, and the metrics of some of its networks.

    Args:
        zoo: The zoo; damaged shards do not stop the check.
        sample: How many networks to score again.
        seed: Which networks.
    """
    problems, notes = [], []
    keys, rows = shard_keys(zoo.path), 0
    with track(len(keys), "checking shards") as progress:
        for key in keys:
            found, count = check_shard(zoo.path, key)
            problems, rows = problems + found, rows + count
            progress.advance()
    notes += [f"{path} is a leftover of an interrupted run." for path in leftovers(zoo.path)]
    rescored = 0
    if not problems and sample:
        rescored, found, skipped = _rescore(zoo, sample, seed)
        problems, notes = problems + found, notes + skipped
    return Verification(len(keys), rows, rescored, tuple(problems), tuple(notes))


def verify_folder(path: str | Path) -> Verification:
    """Check the bytes of a folder that may be too damaged to be opened."""
    path = Path(path)
    problems, rows = [], 0
    try:
        read_header(path)
    except FileError as error:
        problems.append(error.what)
    keys = shard_keys(path)
    for key in keys:
        found, count = check_shard(path, key)
        problems, rows = problems + found, rows + count
    return Verification(len(keys), rows, 0, tuple(problems))


def check_shard(folder: Path, key: str) -> tuple[list[str], int]:
    """Check one shard: sidecar, size, hash, number of rows, finiteness.

    Returns:
        Problems, and how many networks it has.
    """
    path = weights_path(folder, key)
    try:
        table = read_sidecar(folder, key)
        values = read_weights(folder, key, int(table.column("shard_bytes")[0]), torch.arange(len(table)))
    except WeightAtlasError as error:
        return [error.what], 0
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != table.column("shard_sha256")[0]:
        return [f"{path} has a changed byte: its sha256 is {digest[:12]}, not the recorded one."], len(table)
    wrong = np.flatnonzero(torch.isfinite(values).all(1).numpy() != table.column("finite"))
    problems = [f"{path} row {row}: finite weights and their mark disagree." for row in wrong[:3]]
    return problems, len(table)


def _rescore(zoo: "Zoo", sample: int, seed: int) -> tuple[int, list[str], list[str]]:
    """Measure a sample again and compare with the stored validation and test metrics."""
    chosen = zoo.filter(finite=True)
    order = numpy_generator_of("verify", seed).permutation(len(chosen))[:sample]
    chosen, done, problems, notes = chosen[np.sort(order)], 0, [], []
    for spec in chosen.specs:
        own = chosen[chosen.weights(spec).rows.numpy()]
        for name in {t for t in own.column("task").tolist() if t is not None}:
            view = own.filter(task=name)
            try:
                problems += _compare(view, name)
                done += len(view)
            except (NoCode, DataError) as error:
                notes.append(f"{len(view)} networks were not scored again: {error.what}")
    return done, problems, notes


def _compare(view: "Zoo", task_name: str) -> list[str]:
    task, population, problems = view.task(task_name), view.population(), []
    weights, ids = view.weights().values, view.column("id")
    for part in ("val", "test"):
        inputs, labels = task.split(part)
        found = score(population, weights, inputs, labels)
        # Two images may flip sides by floating-point reassociation.
        for metric, allowed in (("acc", 2.5 / len(labels)), ("loss", 1e-3)):
            if f"{part}_{metric}" not in view.table.names:
                continue
            stored = view.column(f"{part}_{metric}")
            new = found[metric].numpy()
            room = allowed * (1 if metric == "acc" else np.maximum(1, np.abs(stored)))
            for row in np.flatnonzero(~(np.abs(new - stored) <= room) & ~np.isnan(stored)):
                problems.append(
                    f"Network {ids[row]} has {part}_{metric} {new[row]:.4f}, {stored[row]:.4f} is stored."
                )
    return problems
