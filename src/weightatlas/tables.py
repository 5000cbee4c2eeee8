"""Tables of records: every one is printed from them, baselines included."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from weightatlas.errors import ConfigError
from weightatlas.results import Kind, Record, summarize

if TYPE_CHECKING:
    from rich.table import Table

_KINDS: tuple[Kind, ...] = ("ours", "baseline", "published")
_MARKS: dict[str, str] = {"ours": "", "baseline": " (baseline)", "published": " (published)"}


def table(
    records: Iterable[Record], rows: str = "method", columns: str = "metric", title: str = ""
) -> "Table":
    """Lay records out as a rich table: our methods first, baselines marked, published rows dim.

    Records of several seeds are summarized. Where zoo, tier, bench or split differ between the
    records, they become part of the row's name.

    Args:
        records: What to print.
        rows: Field of the record that names the rows.
        columns: Field of the record that names the columns.
        title: Printed above the table.
    """
    from rich.markup import escape
    from rich.table import Table

    records = summarize(records)
    names, lines = arrange(records, rows, columns)
    grid = Table(title=title or None, caption=escape(caption(records)), caption_justify="left")
    grid.add_column(rows)
    for name in names:
        grid.add_column(name, justify="right")
    for label, kind, cells in lines:
        grid.add_row(label + _MARKS[kind], *cells, style="dim" if kind == "published" else "")
    return grid


def to_markdown(records: Iterable[Record], rows: str = "method", columns: str = "metric") -> str:
    """Write the same table as Markdown, for READMEs and notes."""
    records = summarize(records)
    names, lines = arrange(records, rows, columns)
    head = [f"| {rows} | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    body = [f"| {label}{_MARKS[kind]} | " + " | ".join(cells) + " |" for label, kind, cells in lines]
    return "\n".join([*head, *body, "", caption(records)])


def caption(records: Sequence[Record]) -> str:
    """Say how networks were split, over which seeds the numbers are averaged, and why a row has none."""
    measured = [record for record in records if record.kind != "published" and not record.note]
    splits = sorted({record.split for record in measured})
    seeds = sorted({seed for record in measured for seed in record.seeds})
    parts = [f"split by {' and '.join(splits)}"] if splits else []
    if len(seeds) > 1:
        parts.append(f"mean ± standard deviation over {len(seeds)} seeds")
        if {len(record.seeds) for record in measured} >= {1, len(seeds)}:
            parts.append("without ± one seed")
    elif seeds:
        parts.append("one seed")
    reasons: dict[str, dict[str, None]] = {}
    for record in records:
        if record.note:
            reasons.setdefault(record.note, {})[record.method] = None
    return "\n".join(["; ".join(parts), *(f"- {', '.join(who)}: {why}" for why, who in reasons.items())])


def arrange(
    records: Sequence[Record], rows: str, columns: str
) -> tuple[list[str], list[tuple[str, Kind, list[str]]]]:
    """Arrange records as column names and (row label, kind, cells); a refused row holds `-`."""
    for name in (rows, columns):
        if name not in Record.model_fields:
            known = ", ".join(Record.model_fields)
            raise ConfigError(f"A record has no field '{name}'.", todo=f"Fields: {known}.")
    context = [
        name
        for name in ("bench", "zoo", "tier", "split", "method")
        if name not in (rows, columns) and len({getattr(record, name) for record in records}) > 1
    ]
    cells: dict[tuple[str, Kind], dict[str, str]] = {}
    names: dict[str, None] = {}
    refused: set[tuple[str, Kind]] = set()
    for record in records:
        label = " · ".join(str(getattr(record, name)) for name in (rows, *context))
        column = str(getattr(record, columns))
        if record.note:
            cells.setdefault((label, record.kind), {})
            refused.add((label, record.kind))
            continue
        names[column] = None
        if record.kind != "published" and column in cells.get((label, record.kind), {}):
            # The same number without seeds, or as a mean made before: a row of its own, not in place of it.
            label += f" · seeds {', '.join(map(str, record.seeds))}" if record.seeds else " · no seed"
        cells.setdefault((label, record.kind), {})[column] = cell(record)
    ordered = sorted(cells, key=lambda row: _KINDS.index(row[1]))
    lines: list[tuple[str, Kind, list[str]]] = [
        (row[0], row[1], [cells[row].get(name, "-" if row in refused else "") for name in names])
        for row in ordered
    ]
    return list(names), lines


def cell(record: Record) -> str:
    """Print a value with its spread over seeds.

    Example:
        >>> cell(Record(bench="b", tier="t", zoo="z", method="m", metric="R2", value=0.51234))
        '0.512'
    """
    shown = number(record.value)
    several = len(record.seeds) > 1 or record.kind == "published"
    return f"{shown} ± {number(record.spread)}" if several and record.spread is not None else shown


def number(value: float) -> str:
    """Print a number with as many digits as are worth reading."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
