"""Columns of imported networks: where they come from, their relatives, their known properties."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from weightatlas.zoo.header import Shares
from weightatlas.zoo.importers.candidates import Candidate, Chooser
from weightatlas.zoo.importers.metrics import label_columns
from weightatlas.zoo.lineage import root_of, split_of
from weightatlas.zoo.table import Table


@dataclass(frozen=True, eq=False)
class Plan:
    """What an import knows before it reads: folders, layouts, task, split and labels of files."""

    source: Path
    folder: Path
    chooser: Chooser
    task: str | None
    shares: Shares
    labels: Mapping[str, Mapping[str, Any]]

    @cached_property
    def parents(self) -> dict[str, str]:
        """File -> file it was made from."""
        return {file: row["parent"] for file, row in self.labels.items() if "parent" in row}


def rows_of(
    plan: Plan, networks: Sequence[Candidate], signatures: Sequence[str], names: Sequence[str]
) -> Table:
    """Write the columns of some networks of one layout.

    Args:
        plan: Of the import.
        networks: What was read.
        signatures: Their signature ids.
        names: Their ids.
    """
    sources = [one.path.relative_to(plan.source).as_posix() for one in networks]
    labels = [plan.labels.get(source, {}) for source in sources]
    families = [_family(plan, one.path) for one in networks]
    spec = networks[0].spec
    lineages = [family for family, _ in families]
    count = len(networks)
    columns: dict[str, Any] = {
        "id": list(names),
        "network": [str(label.get("network") or name) for label, name in zip(labels, names, strict=True)],
        "layout_id": [spec.layout_id] * count,
        "function_id": [spec.function_id] * count,
        "task": [label.get("task") or plan.task for label in labels],
        "signature": list(signatures),
        "seed": np.zeros(count, np.int64),
        "init_seed": np.zeros(count, np.int64),
        "lineage": lineages,
        "lineage_source": [origin for _, origin in families],
        "parent": [label.get("parent") for label in labels],
        "split": split_of(lineages, plan.shares),
        "split_official": [label.get("split_official") for label in labels],
        "source": sources,
        "source_network": [one.stored.name or None for one in networks],
        "source_format": [one.format for one in networks],
        "source_renames": [_renames(one) for one in networks],
        "finite": [True] * count,
    }
    return Table.of(columns | label_columns(labels))


def _family(plan: Plan, path: Path) -> tuple[str, str]:
    """Name the lineage of a file and where that knowledge comes from."""
    own = path.relative_to(plan.source).as_posix()
    root = root_of(own, plan.parents)
    if lineage := plan.labels.get(root, {}).get("lineage"):
        return str(lineage), "metrics"
    run = Path(root).parent.as_posix()
    source = "file" if run == "." else "folder"
    return (name_of(root) if run == "." else run), (source if root == own else "parent")


def _renames(one: Candidate) -> str | None:
    """Say which tensors were renamed: the prefix that was removed, or all pairs as JSON."""
    renamed = one.stored.renamed
    if not renamed:
        return None
    prefix = one.stored.prefix
    if prefix and all(old == prefix + new for old, new in renamed):
        return f"without '{prefix}'"
    return json.dumps(dict(renamed))


def name_of(file: str, network: str = "") -> str:
    """Turn a relative path, and a network inside the file, into an id that is also a file name.

    Example:
        >>> name_of("runs/a.pt", "actor")
        'runs__a_pt__actor'
    """
    file = f"{file}/{network}" if network else file
    return file.replace("/", "__").replace(".", "_")
