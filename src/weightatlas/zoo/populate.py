"""Recipe -> zoo: train what is missing, a shard at a time."""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from weightatlas import runtime
from weightatlas.atomic import alone
from weightatlas.errors import ConfigError, FileError, gather
from weightatlas.executors import Executor, SerialExecutor, create_executor
from weightatlas.networks import create_network, input_shape_of
from weightatlas.population.train import train
from weightatlas.progress import track
from weightatlas.symmetry.verify import spec_of
from weightatlas.tasks import Task, create_task
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import signature_of
from weightatlas.zoo.header import (
    Header,
    NetworkRecord,
    check_folder,
    filed_as,
    has_header,
    merge,
    read_header,
    record_of,
    task_id,
    write_header,
)
from weightatlas.zoo.index import load_index, rebuild_index
from weightatlas.zoo.lineage import digest
from weightatlas.zoo.recipe import Recipe, Run
from weightatlas.zoo.rows import rows_of
from weightatlas.zoo.store import clean, write_shard
from weightatlas.zoo.table import Table
from weightatlas.zoo.zoo import Zoo

log = logging.getLogger("weightatlas")


@dataclass(frozen=True)
class Architecture:
    """A function the recipe's networks compute, and how its module is built."""

    spec: NetworkSpec
    signature: str
    record: NetworkRecord


@dataclass(frozen=True)
class Job:
    """One shard to be trained, possibly in another process."""

    folder: Path
    recipe: Recipe
    architecture: Architecture
    task: str
    runs: tuple[Run, ...]
    workers: int | None
    device: str

    @property
    def key(self) -> str:
        """Name of the shard: a hash of the networks in it."""
        return digest("shard", *sorted(run.id for run in self.runs))


def populate(
    recipe: Recipe, out: str | Path, *, executor: str | Executor = "serial", device: str = "auto"
) -> Zoo:
    """Train all networks of a recipe that the zoo does not hold yet.

    Interrupted at any point, the same call continues; a longer grid adds networks and changes none.

    Args:
        recipe: What to train.
        out: Folder of the zoo; created if it is not there.
        executor: Where shards are trained: "serial" uses all cores for one shard after the other,
            "processes" trains one shard per core, "ray" and "slurm" one per worker of a cluster.
        device: "auto", "cpu" or "cuda".

    Raises:
        ConfigError: The recipe contradicts itself or the zoo in the folder.
        ZooError: The folder holds something else.
        FileError: The folder cannot be written to, or the disk is full.
        DataError: The data of the task are missing.
    """
    folder, runner = Path(out), create_executor(executor)
    runtime.pick_device(device)  # refused before anything is written
    check_folder(folder)
    task = create_task(recipe.task, **recipe.task_options)
    runs = recipe.runs(task)
    architectures, header = describe(recipe, runs, task)
    filed = task_id(task)
    with alone(folder):  # another process may be adding its part of the grid
        if has_header(folder):
            old = read_header(folder)
            check_recipe(old, recipe, task, folder)
            filed = filed_as(old, task)
            header = merge(old, header.replace(tasks={filed: record_of(task)}))
            clean(folder)
        write_header(folder, header)
    present = _present(folder)
    missing = [run for run in runs if run.id not in present]
    if len(missing) < len(runs):
        log.info("%d of %d networks are already there", len(runs) - len(missing), len(runs))
    workers = None if isinstance(runner, SerialExecutor) else 1
    place, given = folder.absolute(), recipe.replace(task=_located(recipe.task))
    jobs = [
        Job(place, given, architectures[network], filed, part, workers, device)
        for network, part in shards(missing, recipe.shard)
    ]
    _work(runner, jobs, recipe)
    return Zoo.open(folder)


def _work(runner: Executor, jobs: Sequence[Job], recipe: Recipe) -> None:
    """Train all jobs; the index is brought up to date even after an interruption."""
    if not jobs:
        return
    total = sum(len(job.runs) for job in jobs) * max(recipe.kept)
    try:
        with track(total, f"training {sum(len(job.runs) for job in jobs)} networks") as progress:
            if isinstance(runner, SerialExecutor):
                for job in jobs:
                    train_shard(job, lambda _, job=job: progress.advance(len(job.runs)))
                return
            for count in runner.map(train_shard, jobs):
                progress.advance(count * max(recipe.kept))
    finally:
        rebuild_index(jobs[0].folder)


def describe(recipe: Recipe, runs: Sequence[Run], task: Task) -> tuple[dict[str, Architecture], Header]:
    """Build and trace every architecture of the recipe once.

    Raises:
        ConfigError: The network does not fit the task.
    """
    architectures: dict[str, Architecture] = {}
    specs, signatures, networks = {}, {}, {}
    for text in dict.fromkeys(run.network.model_dump_json() for run in runs):
        record = NetworkRecord.model_validate_json(text)
        module = create_network(record.name, **record.options)
        shape = input_shape_of(record.name, **record.options)
        if shape != task.input_shape:
            raise ConfigError(
                f"The network '{record.name}' takes images {shape}, those of task '{task.name}' are "
                f"{task.input_shape}.",
                todo="Remove channels_in and image_size from network_options.",
            )
        spec = spec_of(module, shape)
        key = spec.function_id or spec.layout_id
        signature = signature_of(module.state_dict(), spec)
        signature_id = digest(signature.model_dump_json())
        architectures[text] = Architecture(spec, signature_id, record)
        specs.setdefault(key, spec)
        networks.setdefault(key, record)
        signatures[signature_id] = signature
    header = Header(
        name=recipe.name,
        split=recipe.split,
        recipe=recipe.model_dump(mode="json"),
        tasks={task_id(task): record_of(task)},
        specs=specs,
        signatures=signatures,
        networks=networks,
        provenance=provenance("populate"),
    )
    return architectures, header


def check_recipe(old: Header, recipe: Recipe, task: Task, folder: Path) -> None:
    """Let a zoo grow in its grid, variants, count and replicates only; its data may have moved.

    Raises:
        ConfigError: Anything else differs.
    """
    before, now = old.recipe or {}, recipe.model_dump(mode="json")
    if not before:
        raise ConfigError(
            f"The zoo {folder} was imported, not populated.", todo="Choose another folder for the recipe."
        )
    free = {"grid", "variants", "count", "replicates", "shard", "task", "task_options"}
    changed = [key for key in now if key not in free and before.get(key) != now[key]]
    problems = [f"{key} is {now[key]!r}, the zoo was made with {before.get(key)!r}" for key in changed]
    known = {record.sha256 for record in old.tasks.values()}
    if task.sha256 not in known:
        made = ", ".join(f"'{name}' ({record.sha256[:12]})" for name, record in old.tasks.items())
        problems.append(f"the data of task '{task_id(task)}' ({task.sha256[:12]}) are not those of {made}")
    gather(
        ConfigError, problems, where=f"In the zoo {folder}.", todo="Choose another folder for this recipe."
    )


def shards(runs: Sequence[Run], size: int) -> list[tuple[str, tuple[Run, ...]]]:
    """Group runs by architecture and cut them into shards, in the order of the recipe."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.network.model_dump_json(), []).append(run)
    return [
        (network, tuple(own[start : start + size]))
        for network, own in groups.items()
        for start in range(0, len(own), size)
    ]


def train_shard(job: Job, on_epoch: Callable[[int], None] | None = None) -> int:
    """Train the networks of one shard and store all their checkpoints.

    Returns:
        How many networks were trained.
    """
    recipe = job.recipe
    task = create_task(recipe.task, **recipe.task_options)
    device = runtime.pick_device(job.device)
    data = {name: _to(task.split(name), device) for name in ("train", "val", "test")}
    network = create_network(job.architecture.record.name, **job.architecture.record.options).to(device)
    settings = [run.settings for run in job.runs]
    steps = train(
        network,
        job.architecture.spec,
        data,
        settings,
        recipe.epochs,
        recipe.kept,
        workers=job.workers,
        on_epoch=on_epoch,
    )
    checkpoints = list(steps)
    values = torch.cat([checkpoint.weights.cpu() for checkpoint in checkpoints])
    constants = {"task": job.task, "signature": job.architecture.signature, "source": "populate"}
    tables = [
        rows_of(job.runs, checkpoint, job.architecture.spec, recipe.split, **constants)
        for checkpoint in checkpoints
    ]
    write_shard(job.folder, job.key, values, Table.concat(tables))
    return len(job.runs)


def provenance(source: str) -> dict[str, str]:
    """Say what made a zoo, and when."""
    from importlib.metadata import version

    return {
        "source": source,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "weightatlas": version("weightatlas"),
        "torch": torch.__version__,
        "python": sys.version.split()[0],
    }


def _located(task: str) -> str:
    """Write the path in the name of a task in full: a worker may stand in another folder."""
    kind, colon, path = task.partition(":")
    return f"{kind}:{Path(path).absolute()}" if colon and Path(path).exists() else task


def _present(folder: Path) -> set[str]:
    try:
        table = load_index(folder)
    except FileError as error:
        raise FileError(
            error.what,
            where="A shard of this zoo is damaged, so it is not known which networks it holds.",
            todo=error.todo,
        ) from None
    return set(table.column("network").tolist()) if len(table) else set()


def _to(pair: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    return pair[0].to(device), pair[1].to(device)
