"""A folder of state dict files -> zoo."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from weightatlas.errors import ConfigError, FileError, WeightAtlasError, ZooError
from weightatlas.networks import create_network, input_shape_of
from weightatlas.progress import track
from weightatlas.symmetry.verify import spec_of
from weightatlas.tasks import Task
from weightatlas.weights.files import read_checkpoint
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import Signature, StateDict, check, flatten, signature_of
from weightatlas.zoo.header import (
    Header,
    NetworkRecord,
    Shares,
    check_folder,
    has_header,
    merge,
    read_header,
    record_of,
    task_id,
    write_header,
)
from weightatlas.zoo.importers.metrics import label_columns, read_metrics
from weightatlas.zoo.index import load_index, rebuild_index
from weightatlas.zoo.lineage import digest, root_of, split_of
from weightatlas.zoo.populate import provenance
from weightatlas.zoo.store import write_shard
from weightatlas.zoo.table import Table
from weightatlas.zoo.zoo import Zoo

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_SHARD = 256


@dataclass(frozen=True)
class Imported:
    """What came of an import.

    Args:
        zoo: The zoo.
        read: Files that are now in it.
        skipped: File -> why it is not.
    """

    zoo: Zoo
    read: tuple[Path, ...]
    skipped: dict[Path, str]


@dataclass(frozen=True, eq=False)
class _Plan:
    source: Path
    folder: Path
    spec: NetworkSpec
    task: str | None
    shares: Shares
    labels: Mapping[str, Mapping[str, Any]]

    @cached_property
    def parents(self) -> dict[str, str]:
        """File -> file it was made from."""
        return {file: row["parent"] for file, row in self.labels.items() if "parent" in row}


def import_folder(
    source: str | Path,
    out: str | Path,
    network: str | Callable[[], nn.Module],
    *,
    network_options: Mapping[str, Any] | None = None,
    input_shape: tuple[int, ...] | None = None,
    task: Task | None = None,
    metrics: str | Path | None = None,
    name: str | None = None,
    split: Shares | None = None,
) -> Imported:
    """Read every checkpoint below a folder that fits a network; the rest is reported, not guessed.

    A second call adds files that are not in the zoo yet. Files in one subfolder count as one lineage, files
    directly in `source` as one each; a column `lineage` in `metrics` overrules both.

    Example:
        >>> done = import_folder("runs", "zoo", "cnn3", metrics="runs/results.csv")  # doctest: +SKIP
        >>> done.skipped  # doctest: +SKIP

    Args:
        source: Folder with .safetensors, .pt, .pth, .bin or .ckpt files, searched deeply.
        out: Folder of the zoo.
        network: A name from `networks.names()`, or a function that makes the module.
        network_options: Options of a named network.
        input_shape: Shape of one input; needed with a function.
        task: What the networks were trained on, if it is known.
        metrics: CSV or JSON with one row per file: `file` (relative to `source`) and any of step, train_acc,
            test_acc, ..., lineage, parent (a file), split_official; other columns become `hp.*`. The
            networks.csv of an export fits.
        name: Name of the zoo; the folder's name if none.
        split: Shares of the split.

    Raises:
        ZooError: No file could be read, or `out` is something else.
        FileError: A folder is missing or cannot be written to.
        ConfigError: `input_shape` is missing.
    """
    source, folder = Path(source), Path(out)
    if not source.is_dir():
        raise FileError(f"There is no folder {source}.", todo="Check the path.")
    check_folder(folder)
    files = sorted(path for path in source.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    spec, record = _function(network, dict(network_options or {}), input_shape)
    header = Header(
        name=name or folder.name,
        split=split or Shares(),
        tasks={task_id(task): record_of(task)} if task else {},
        specs={spec.function_id or spec.layout_id: spec},
        networks={spec.function_id or spec.layout_id: record},
        provenance=provenance("import_folder"),
    )
    header = _open_or_merge(folder, header)
    labels = read_metrics(Path(metrics)) if metrics else {}
    plan = _Plan(source, folder, spec, task_id(task) if task else None, header.split, labels)
    read, skipped = _read_all(plan, header, files)
    if not read and not (has_header(folder) and len(load_index(folder))):
        reasons = [f"{path.name}: {reason}" for path, reason in list(skipped.items())[:5]]
        what = (
            f"None of {len(files)} files in {source} could be read." if files else f"{source} has no files."
        )
        todo = f"Files end in {', '.join(SUFFIXES)} and must fit the network."
        raise ZooError(what, where="; ".join(reasons), todo=todo)
    rebuild_index(folder)
    own = {spec.function_id or spec.layout_id: network} if callable(network) else None
    return Imported(Zoo.open(folder, networks=own), tuple(read), skipped)


def _read_all(plan: _Plan, header: Header, files: Sequence[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Read files in shards; the header knows every signature before a shard uses it."""
    present = load_index(plan.folder) if has_header(plan.folder) else Table.of({})
    known = set(present.column("id").tolist()) if len(present) else set()
    read: list[Path] = []
    skipped = {
        path: "is in the zoo already"
        for path in files
        if _name(path.relative_to(plan.source).as_posix()) in known
    }
    fresh = [path for path in files if path not in skipped]
    with track(len(fresh), "reading checkpoints") as progress:
        for start in range(0, len(fresh), _SHARD):
            states: dict[Path, StateDict] = {}
            for path in fresh[start : start + _SHARD]:
                try:
                    states[path] = _state(path, plan.spec)
                except WeightAtlasError as error:
                    skipped[path] = error.what
                progress.advance()
            if states:
                header = _write(plan, header, states)
                read += states
    return read, skipped


def _state(path: Path, spec: NetworkSpec) -> StateDict:
    """Read one file and refuse it unless it fits and is finite."""
    state = read_checkpoint(path).network.under(tensor.name for tensor in spec.tensors)
    check(state, spec, finite=True)
    return state


def _write(plan: _Plan, header: Header, states: Mapping[Path, StateDict]) -> Header:
    signatures = [signature_of(state, plan.spec) for state in states.values()]
    ids = [digest(signature.model_dump_json()) for signature in signatures]
    found: dict[str, Signature] = dict(zip(ids, signatures, strict=True))
    header = header.replace(signatures=header.signatures | found)
    write_header(plan.folder, header)
    rows = _rows(plan, list(states), ids)
    key = digest("import", *rows.column("id").tolist())
    write_shard(plan.folder, key, flatten(list(states.values()), plan.spec), rows)
    return header


def _rows(plan: _Plan, files: Sequence[Path], signatures: Sequence[str]) -> Table:
    names = [_name(path.relative_to(plan.source).as_posix()) for path in files]
    labels = [plan.labels.get(str(path.relative_to(plan.source).as_posix()), {}) for path in files]
    families = [_family(plan, path) for path in files]
    lineages = [family for family, _ in families]
    count = len(files)
    columns: dict[str, Any] = {
        "id": names,
        "network": [str(label.get("network") or name) for label, name in zip(labels, names, strict=True)],
        "layout_id": [plan.spec.layout_id] * count,
        "function_id": [plan.spec.function_id] * count,
        "task": [label.get("task") or plan.task for label in labels],
        "signature": list(signatures),
        "seed": np.zeros(count, np.int64),
        "init_seed": np.zeros(count, np.int64),
        "lineage": lineages,
        "lineage_source": [origin for _, origin in families],
        "parent": [label.get("parent") for label in labels],
        "split": split_of(lineages, plan.shares),
        "split_official": [label.get("split_official") for label in labels],
        "source": [path.relative_to(plan.source).as_posix() for path in files],
        "finite": [True] * count,
    }
    return Table.of(columns | label_columns(labels))


def _function(
    network: str | Callable[[], nn.Module], options: dict[str, Any], input_shape: tuple[int, ...] | None
) -> tuple[NetworkSpec, NetworkRecord | None]:
    if isinstance(network, str):
        shape = input_shape or input_shape_of(network, **options)
        return spec_of(create_network(network, **options), shape), NetworkRecord(
            name=network, options=options
        )
    if input_shape is None:
        raise ConfigError("A network given as code needs input_shape.", todo="For example (3, 32, 32).")
    return spec_of(network(), input_shape), None


def _open_or_merge(folder: Path, header: Header) -> Header:
    if not has_header(folder):
        return header
    old = read_header(folder)
    if old.recipe is not None:
        raise ZooError(f"The zoo {folder} was populated from a recipe.", todo="Import into another folder.")
    return merge(old, header)


def _family(plan: _Plan, path: Path) -> tuple[str, str]:
    """Name the lineage of a file and where that knowledge comes from."""
    own = path.relative_to(plan.source).as_posix()
    root = root_of(own, plan.parents)
    if lineage := plan.labels.get(root, {}).get("lineage"):
        return str(lineage), "metrics"
    run = Path(root).parent.as_posix()
    source = "file" if run == "." else "folder"
    return (_name(root) if run == "." else run), (source if root == own else "parent")


def _name(file: str) -> str:
    """Turn a relative path into a unique id that is also a file name."""
    return file.replace("/", "__").replace(".", "_")
