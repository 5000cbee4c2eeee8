"""What the command prints: results on standard output, everything else on standard error."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from weightatlas.errors import WeightAtlasError

if TYPE_CHECKING:
    from weightatlas.results import Record

Row = Mapping[str, Any]
_WIDTH = 160
_NAMED = 44  # characters that the first column keeps
_REASONS = 20


def out() -> Console:
    """Return the console of results; where there is no terminal, lines may be long."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


def err() -> Console:
    """Return the console of progress, notes and errors."""
    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Tell the user something that is not the result itself."""
    err().print(Text(text), soft_wrap=True)


def say_skipped(skipped: Mapping[Any, str], more: str = "") -> None:
    """Tell which files were skipped: one line for each reason, with a count and the first such file.

    Args:
        skipped: File -> reason.
        more: Where all of them are listed.
    """
    groups: dict[str, list[str]] = {}
    for place, reason in skipped.items():
        groups.setdefault(reason.replace(str(place), "it"), []).append(str(place))
    for reason, places in sorted(groups.items(), key=lambda item: -len(item[1]))[:_REASONS]:
        several = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
        say(f"Skipped {places[0]}{several}: {reason}")
    left = sum(map(len, groups.values())) - sum(
        len(places) for places in sorted(groups.values(), key=lambda places: -len(places))[:_REASONS]
    )
    if left:
        say(f"… and {left:,} more for other reasons{f': {more}' if more else '.'}")


def print_error(error: WeightAtlasError) -> None:
    """Print what is wrong, where, and what to do, in red."""
    err().print(Text(f"{type(error).__name__}: {error}", style="red"), soft_wrap=True)


def print_json(value: object) -> None:
    """Print one JSON document."""
    print(json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False))


def print_rows(rows: Sequence[Row], *, title: str = "", as_json: bool = False) -> None:
    """Print rows of the same keys as a table, or as a JSON list.

    Args:
        rows: One mapping per line of the table.
        title: Printed above the table; left out of JSON.
        as_json: Print JSON instead.
    """
    if as_json:
        print_json([dict(row) for row in rows])
        return
    grid = Table(title=title or None, title_justify="left")
    for place, name in enumerate(rows[0] if rows else ()):
        numeric = all(isinstance(row[name], int | float) or row[name] is None for row in rows)
        longest = max(len(_shown(row[name])) for row in rows)
        room = None if numeric or place else min(longest, _NAMED)  # What a line is about is not cut small.
        grid.add_column(name, justify="right" if numeric else "left", overflow="fold", min_width=room)
    for row in rows:
        grid.add_row(*(Text(_shown(value)) for value in row.values()))
    out().print(grid)


def print_records(
    records: "Sequence[Record]", *, title: str = "", metrics: Sequence[str] = (), as_json: bool = False
) -> None:
    """Print measured numbers beside their baselines, or as the flat JSON list of records.

    Args:
        records: What was measured.
        title: Printed above the table; left out of JSON.
        metrics: The columns of the table, in order; all by default. JSON always has all.
        as_json: Print JSON instead.
    """
    if as_json:
        print_json([record.model_dump(mode="json") for record in records])
        return
    from weightatlas import tables

    if metrics:
        places = {name: place for place, name in enumerate(metrics)}
        chosen = [record for record in records if record.metric in places or record.note]
        records = sorted(chosen, key=lambda record: places.get(record.metric, len(places))) or records
    out().print(tables.table(records, title=title))


def print_facts(facts: Row, *, title: str = "", as_json: bool = False) -> None:
    """Print named facts as two columns, or as one JSON object."""
    if as_json:
        print_json(dict(facts))
        return
    grid = Table(title=title or None, title_justify="left", show_header=False)
    for name, value in facts.items():
        grid.add_row(name, Text(_shown(value)))
    out().print(grid)


def log_to_stderr(verbose: bool) -> None:
    """Show what the library logs, without timestamps."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("weightatlas")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


def _shown(value: object) -> str:
    """Write a cell as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value)
    return str(value)


def _plain(value: Any) -> object:
    """Turn scalars and arrays of numpy and torch, paths and sets into JSON values; NaN becomes null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)
