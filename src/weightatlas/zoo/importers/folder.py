"""A folder of checkpoints -> zoo: one given architecture, or whatever there is."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weightatlas.atomic import write_text
from weightatlas.errors import ConfigError, FileError, ZooError
from weightatlas.networks import create_network, input_shape_of
from weightatlas.progress import track
from weightatlas.symmetry.verify import spec_of
from weightatlas.tasks import Task
from weightatlas.weights.files import find_checkpoints
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import Signature, flatten, signature_of
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
from weightatlas.zoo.importers.candidates import Candidate, Chooser, common
from weightatlas.zoo.importers.columns import Plan, name_of, rows_of
from weightatlas.zoo.importers.metrics import read_metrics
from weightatlas.zoo.index import load_index, rebuild_index
from weightatlas.zoo.lineage import digest
from weightatlas.zoo.populate import provenance
from weightatlas.zoo.store import write_shard
from weightatlas.zoo.table import Table
from weightatlas.zoo.zoo import Zoo

_SHARD = 256  # networks of one shard
_BYTES = 1 << 28  # bytes of networks held at once


@dataclass(frozen=True)
class Imported:
    """What came of an import.

    Args:
        zoo: The zoo.
        read: Files that are now in it.
        skipped: File -> why it is not. A network inside a file is named FILE:NETWORK.
        renamed: File -> how many of its tensors were renamed.
        groups: One entry per layout of the new networks: id, family, networks, parameters.
        files: Files that were found, checkpoints or not.
    """

    zoo: Zoo
    read: tuple[Path, ...]
    skipped: dict[Path, str]
    renamed: dict[Path, int] = field(default_factory=dict)
    groups: tuple[dict[str, Any], ...] = ()
    files: int = 0

    @property
    def coverage(self) -> float:
        """Share of the files found that are in the zoo, those of earlier imports included."""
        again = sum(reason == _AGAIN for reason in self.skipped.values())
        return (len(self.read) + again) / self.files if self.files else 0.0


_AGAIN = "is in the zoo already"


def import_folder(
    source: str | Path,
    out: str | Path,
    network: str | Callable[[], nn.Module] | None = None,
    *,
    network_options: Mapping[str, Any] | None = None,
    input_shape: tuple[int, ...] | None = None,
    task: Task | None = None,
    metrics: str | Path | None = None,
    name: str | None = None,
    split: Shares | None = None,
) -> Imported:
    """Read every checkpoint below a folder into one zoo, grouped by layout; say why the rest is not.

    Given a network, only what fits it is read. Without one, layouts are inferred from names and shapes: such
    networks can be embedded, compared and predicted from, but not run (`NoCode`).

    A second call adds files that are not in the zoo yet. Files in one subfolder count as one lineage, files
    directly in `source` as one each; a column `lineage` in `metrics` overrules both.

    Example:
        >>> done = import_folder("runs", "zoo", "cnn3", metrics="runs/results.csv")  # doctest: +SKIP
        >>> done.skipped  # doctest: +SKIP

    Args:
        source: Folder with checkpoints of any format that `read_checkpoint` knows, searched deeply.
        out: Folder of the zoo.
        network: A name from `networks.names()`, a function that makes the module, or none.
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
    spec, record = _function(network, dict(network_options or {}), input_shape)
    key = None if spec is None else spec.function_id or spec.layout_id
    header = Header(
        name=name or folder.name,
        split=split or Shares(),
        tasks={task_id(task): record_of(task)} if task else {},
        specs={key: spec} if key and spec else {},
        networks={key: record} if key else {},
        provenance=provenance("import_folder"),
    )
    header = open_or_merge(folder, header)
    labels = read_metrics(Path(metrics)) if metrics else {}
    plan = Plan(source, folder, Chooser(spec), task_id(task) if task else None, header.split, labels)
    own = {folder.absolute(), *([Path(metrics).absolute()] if metrics else [])}
    found = ((entry, entry.path.absolute()) for entry in find_checkpoints(source))
    entries = [entry for entry, place in found if not own & {place, *place.parents}]
    skipped = {entry.path: entry.skipped for entry in entries if entry.skipped}
    reading = _Reading(plan, header, skipped)
    reading.read([entry.path for entry in entries if not entry.skipped])
    if not reading.done and not (has_header(folder) and len(load_index(folder))):
        raise _nothing(source, len(entries), reading.skipped)
    rebuild_index(folder)
    zoo = Zoo.open(folder, networks={key: network} if key and callable(network) else None)
    files = tuple(dict.fromkeys(one.path for one in reading.done))
    done = Imported(zoo, files, reading.skipped, reading.renamed, reading.groups(), len(entries))
    write_text(folder / "import.json", json.dumps(_report(done, source), indent=1) + "\n")
    return done


@dataclass(frozen=True)
class _Row:
    """What is remembered of a network after its numbers were written."""

    path: Path
    layout: str
    parameters: int


class _Reading:
    """Reads files into shards; the header knows every layout and signature before a shard uses it."""

    def __init__(self, plan: Plan, header: Header, skipped: dict[Path, str]) -> None:
        self.plan, self.header, self.skipped = plan, header, skipped
        self.done: list[_Row] = []
        self.renamed: dict[Path, int] = {}
        present = load_index(plan.folder) if has_header(plan.folder) else Table.of({})
        ids, files = ([], []) if not len(present) else (present.column(n).tolist() for n in ("id", "source"))
        self.present = set(ids)
        # A file may hold networks of several layouts, of which an import that was killed has written some.
        self.known = {(f, present.cell("source_network", row) or "") for row, f in enumerate(files)}

    def read(self, files: Sequence[Path]) -> None:
        """Read all files, a bounded number of networks at a time."""
        waiting: list[Candidate] = []
        with track(len(files), "reading checkpoints") as progress:
            for path in files:
                waiting += self._open(path)
                if len(waiting) >= _SHARD or 4 * sum(one.spec.params for one in waiting) >= _BYTES:
                    self._write(waiting)
                    waiting = []
                progress.advance()
            self._write(waiting)

    def groups(self) -> tuple[dict[str, Any], ...]:
        """Count the networks of each layout, the largest group first."""
        counts = Counter((row.layout, row.parameters) for row in self.done)
        names = self.plan.chooser.families
        return tuple(
            {"layout": layout, "family": names.get(layout, "given"), "networks": count, "parameters": size}
            for (layout, size), count in counts.most_common()
        )

    def _open(self, path: Path) -> list[Candidate]:
        """Read one file, unless it is in the zoo already."""
        own = path.relative_to(self.plan.source).as_posix()
        found, again = [], (own, "") in self.known
        for one in () if again else self.plan.chooser.choose(path):
            if not isinstance(one, Candidate):
                self.skipped[one[0]] = one[1]
            elif (own, one.stored.name) in self.known:
                again = True
            else:
                found.append(one)
                if one.stored.renamed:
                    self.renamed[path] = self.renamed.get(path, 0) + len(one.stored.renamed)
        if again and not found:
            self.skipped[path] = _AGAIN
        return found

    def _write(self, networks: Sequence[Candidate]) -> None:
        """Write one shard per layout."""
        groups: dict[str, list[Candidate]] = {}
        for one in networks:
            groups.setdefault(one.spec.function_id or one.spec.layout_id, []).append(one)
        for key, members in groups.items():
            self._write_layout(key, members)

    def _write_layout(self, key: str, members: Sequence[Candidate]) -> None:
        signatures = [signature_of(one.state, one.spec) for one in members]
        # What differs between checkpoints stands in their rows: the header would grow with every network.
        shared = [signature.with_counters(()) for signature in signatures]
        ids = [digest(signature.model_dump_json()) for signature in shared]
        found: dict[str, Signature] = dict(zip(ids, shared, strict=True))
        spec = self.header.specs.get(key, members[0].spec)
        for other in dict.fromkeys(one.spec for one in members):
            spec = common(spec, other)
        self.header = self.header.replace(
            signatures=self.header.signatures | found, specs={**self.header.specs, key: spec}
        )
        write_header(self.plan.folder, self.header)
        rows = rows_of(self.plan, members, ids, [self._name(one) for one in members])
        rows = rows.with_column(
            "counters", [json.dumps(s.counters) if s.counters else None for s in signatures]
        )
        values = torch.cat([flatten([one.state], one.spec) for one in members])
        write_shard(self.plan.folder, digest("import", *rows.column("id").tolist()), values, rows)
        self.done += [_Row(one.path, one.spec.layout_id, one.spec.params) for one in members]

    def _name(self, one: Candidate) -> str:
        """Choose an id that no other network has; `a.b.pt` and `a_b.pt` would share one."""
        file, network = one.path.relative_to(self.plan.source).as_posix(), one.stored.name
        name = name_of(file, network)
        if name in self.present:
            name = f"{name}_{digest(file, network)[:6]}"
        self.present.add(name)
        return name


def _nothing(source: Path, files: int, skipped: Mapping[Path, str]) -> ZooError:
    """Say that nothing could be read, and why."""
    reasons = [f"{path.name}: {reason}" for path, reason in list(skipped.items())[:5]]
    what = f"None of {files} files in {source} could be read." if files else f"{source} has no files."
    todo = "`weightatlas inspect FILE` says what a file holds; without a network any layout is taken."
    return ZooError(what, where="; ".join(reasons), todo=todo)


def _report(done: Imported, source: Path) -> dict[str, Any]:
    """What import.json holds: what was read, renamed and skipped, and why."""
    return {
        "source": str(source),
        "files": done.files,
        "read": [path.relative_to(source).as_posix() for path in done.read],
        "coverage": round(done.coverage, 4),
        "groups": list(done.groups),
        "renamed": {path.relative_to(source).as_posix(): count for path, count in done.renamed.items()},
        "skipped": {path.relative_to(source).as_posix(): reason for path, reason in done.skipped.items()},
    }


def _function(
    network: str | Callable[[], nn.Module] | None,
    options: dict[str, Any],
    input_shape: tuple[int, ...] | None,
) -> tuple[NetworkSpec | None, NetworkRecord | None]:
    if network is None:
        return None, None
    if isinstance(network, str):
        shape = input_shape or input_shape_of(network, **options)
        spec = spec_of(create_network(network, **options), shape)
        return spec, NetworkRecord(name=network, options=options)
    if input_shape is None:
        raise ConfigError("A network given as code needs input_shape.", todo="For example (3, 32, 32).")
    return spec_of(network(), input_shape), None


def open_or_merge(folder: Path, header: Header) -> Header:
    """Start from what the zoo in a folder holds, if there is one.

    Raises:
        ZooError: It was made from a recipe, or disagrees about the split.
    """
    if not has_header(folder):
        return header
    old = read_header(folder)
    if old.recipe is not None:
        raise ZooError(f"The zoo {folder} was populated from a recipe.", todo="Import into another folder.")
    return merge(old, header)
