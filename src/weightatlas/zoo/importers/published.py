"""A published zoo -> zoo: whichever importer knows the format reads, one writer writes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from weightatlas.atomic import write_text
from weightatlas.errors import ConfigError, FileError, ZooError
from weightatlas.progress import track
from weightatlas.zoo.header import Header, Shares, check_folder, has_header, write_header
from weightatlas.zoo.importers import formats as formats  # registers them
from weightatlas.zoo.importers.folder import open_or_merge
from weightatlas.zoo.importers.registry import Block, Importer, Report, detect, importers
from weightatlas.zoo.index import load_index, rebuild_index
from weightatlas.zoo.lineage import digest, split_of
from weightatlas.zoo.populate import provenance
from weightatlas.zoo.store import write_shard
from weightatlas.zoo.table import Table
from weightatlas.zoo.zoo import Zoo

_SHARD = 512  # networks of one shard
_NUMBERS = 1 << 25  # numbers held at once
_FIXED: dict[str, Any] = {"step": 0, "task": None, "parent": None, "split_official": None}


@dataclass(frozen=True)
class Published:
    """What came of an import.

    Args:
        zoo: The zoo.
        format: Name of the format.
        read: Networks that are in it now, each checkpoint counted.
        found: Networks there were.
        skipped: Place -> why nothing came of it.
        notes: Whole sentences about what is not as a reader may expect.
    """

    zoo: Zoo
    format: str
    read: int
    found: int
    skipped: dict[str, str]
    notes: tuple[str, ...]

    @property
    def coverage(self) -> float:
        """Share of the networks found that are in the zoo."""
        return self.read / self.found if self.found else 0.0


def format_of(source: Path) -> str | None:
    """Name the published format of a folder, or none if it is a plain folder of files.

    Raises:
        ConfigError: It looks like several.
    """
    found = detect(source)
    return None if found is None else found.name


def import_published(
    source: str | Path,
    out: str | Path,
    format: str = "auto",
    *,
    name: str | None = None,
    split: Shares | None = None,
    limit: int | None = None,
    **options: Any,
) -> Published:
    """Bring a published collection of networks into one zoo.

    Weights come to the PyTorch convention, hyperparameters to `hp.*`, metrics to their fixed names. Published
    splits stand in `split_official` (`zoo.split("test", by="official")`); the split by lineage is made anew.
    Pickles are never unpickled. An interrupted import continues when it is called again.

    Example:
        >>> done = import_published("cifar10", "runs/unterthiner")  # doctest: +SKIP
        >>> done.coverage, done.skipped  # doctest: +SKIP

    Args:
        source: Folder as it was published, unpacked.
        out: Folder of the zoo.
        format: A name from `importers.names()`, or "auto".
        name: Name of the zoo; the folder's name if none.
        split: Shares of the split by lineage.
        limit: Read this many networks at most.
        options: Options of the importer.

    Raises:
        ZooError: No network could be read, or `out` is something else.
        FileError: A folder or file is missing or damaged.
        DataError: Files contradict each other.
        ConfigError: More than one importer knows the folder, or the limit is below 1.
    """
    source, folder = Path(source), Path(out)
    if not source.is_dir():
        raise FileError(f"There is no folder {source}.", todo="Check the path.")
    check_folder(folder)
    if limit is not None and limit < 1:
        raise ConfigError(f"The limit is {limit}, it must be at least 1.")
    importer = detect(source) if format == "auto" else importers.create(format, **options)
    if importer is None:
        known = ", ".join(importers.names())
        todo = f"Say which (format=...): {known}; or use import_folder for plain checkpoints."
        raise ZooError(f"{source} has none of the published formats.", todo=todo)
    report = Report()
    header = Header(name=name or folder.name, split=split or Shares())
    writing = _Writing(folder, open_or_merge(folder, header), importer)
    with track(1, f"reading {importer.name}") as progress:
        for block in _limited(importer.read(source, report), limit, report):
            writing.add(block, report)
        writing.flush(report)
        progress.advance()
    if not writing.rows:
        reasons = "; ".join(f"{place}: {reason}" for place, reason in list(report.skipped.items())[:5])
        raise ZooError(f"No network of {source} could be read as {importer.name}.", where=reasons)
    rebuild_index(folder)
    done = Published(
        *(Zoo.open(folder, diverged=True), importer.name, writing.rows, report.found),
        *(report.skipped, tuple(report.notes)),
    )
    facts = {"source": str(source), "format": importer.name, "networks": report.found, "read": writing.rows}
    facts |= {"coverage": round(done.coverage, 4), "skipped": report.skipped, "notes": report.notes}
    write_text(folder / "import.json", json.dumps(facts, indent=1) + "\n")
    return done


class _Writing:
    """Gathers blocks of one architecture and writes them in shards; the header is always ahead."""

    def __init__(self, folder: Path, header: Header, importer: Importer) -> None:
        self.folder, self.header, self.importer = folder, header, importer
        self.waiting: dict[str, list[Block]] = {}
        self.rows = 0
        present = load_index(folder) if has_header(folder) else Table.of({})
        self.present = set(present.column("id").tolist()) if len(present) else set()
        self.seen: set[str] = set()

    def add(self, block: Block, report: Report) -> None:
        """Take a block; write what is full. Networks the zoo holds already count as read."""
        names, fresh = block.columns["id"], []
        for row, name in enumerate(names):
            if name in self.seen:
                place = str(block.columns["source"][row])
                report.skipped[place] = f"another network is called {name}, too"
            elif name in self.present:
                self.rows += 1
            else:
                fresh.append(row)
            self.seen.add(name)
        if len(fresh) < len(names):
            block = block.take(fresh)
        if not fresh:
            return
        key = block.architecture.key
        self.waiting.setdefault(key, []).append(block)
        if sum(len(one.values) for one in self.waiting[key]) >= _SHARD:
            self._write({key: self.waiting.pop(key)}, report)
        elif sum(one.values.numel() for blocks in self.waiting.values() for one in blocks) >= _NUMBERS:
            self.flush(report)

    def flush(self, report: Report) -> None:
        """Write everything that waits."""
        self._write(self.waiting, report)
        self.waiting = {}

    def _write(self, groups: Mapping[str, Sequence[Block]], report: Report) -> None:
        """Write the header once for all groups, then a shard for each."""
        if not groups:
            return
        kinds = {key: blocks[0].architecture for key, blocks in groups.items()}
        known = {one.signature_id: one.signature for blocks in groups.values() for one in blocks}
        source = {**provenance("import_published"), "format": self.importer.name, **report.facts}
        self.header = self.header.replace(
            signatures=self.header.signatures | known,
            specs={**{key: one.spec for key, one in kinds.items()}, **self.header.specs},
            networks={**{key: one.record for key, one in kinds.items()}, **self.header.networks},
            provenance={**source, **self.header.provenance},
        )
        write_header(self.folder, self.header)
        for blocks in groups.values():
            values = torch.cat([block.values for block in blocks])
            rows = _rows(blocks, values, self.header.split, self.importer.name)
            write_shard(self.folder, digest("published", *rows.column("id").tolist()), values, rows)
            self.rows += len(values)


def _limited(blocks: Iterator[Block], limit: int | None, report: Report) -> Iterator[Block]:
    """Yield the first so many networks."""
    left = limit
    for block in blocks:
        if left is None:
            yield block
            continue
        size = min(left, len(block.values))
        yield block.take(range(size))
        left -= size
        if not left:
            report.notes.append(f"Reading stopped after the {limit:,} networks that were asked for.")
            return


def _rows(blocks: Sequence[Block], values: torch.Tensor, shares: Shares, format: str) -> Table:
    """Write the columns of some networks of one layout."""
    spec = blocks[0].architecture.spec
    names = dict.fromkeys(name for block in blocks for name in block.columns)
    columns: dict[str, Any] = {}
    for name in dict.fromkeys([*_FIXED, *names]):
        column: list[Any] = []
        for block in blocks:
            column += block.columns.get(name, [_FIXED.get(name)] * len(block.values))
        if name in _FIXED or any(value is not None for value in column):
            columns[name] = uniform_kind(column)
    count = len(values)
    columns["layout_id"], columns["function_id"] = [spec.layout_id] * count, [spec.function_id] * count
    columns["signature"] = [block.signature_id for block in blocks for _ in range(len(block.values))]
    columns["lineage_source"] = ["published"] * count
    columns["source_format"] = [format] * count
    columns["split"] = split_of(columns["lineage"], shares)
    columns["finite"] = torch.isfinite(values).all(1).numpy()
    columns["step"] = [int(step or 0) for step in columns["step"]]
    for name in ("seed", "init_seed"):
        columns[name] = [int(seed or 0) for seed in columns.get(name, [0] * count)]
    if {"train_acc", "test_acc"} <= set(columns):
        pairs = zip(columns["train_acc"], columns["test_acc"], strict=True)
        columns["generalization_gap"] = [None if a is None or b is None else a - b for a, b in pairs]
    return Table.of(columns)


def uniform_kind(values: Sequence[Any]) -> list[Any]:
    """Bring the values of a column to one kind: numbers if all are, otherwise texts.

    Example:
        >>> uniform_kind([1, None, 2.5]), uniform_kind(["adam", None]), uniform_kind([[1, 2], True])
        ([1.0, None, 2.5], ['adam', None], ['[1, 2]', 'true'])
    """
    present = [value for value in values if value is not None]
    if all(isinstance(value, str) for value in present):
        return list(values)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        return [None if value is None else float(value) for value in values]
    texts = [value if isinstance(value, str | None) else json.dumps(value, default=str) for value in values]
    return list(texts)
