"""A bench's results file as a report: its tables, and the curve of size against agreement."""

import re
from collections.abc import Sequence
from pathlib import Path

from weightatlas.errors import RunError
from weightatlas.report.data import ReportData, SizeCurve
from weightatlas.results import Record, load_records, summarize

_NUMBER = re.compile(r"(?:\b1:)?\d+(?:\.\d+)?%?")
_SIZE, _QUALITY = "bits per parameter", "excess agreement"


def of_results(path: str | Path) -> ReportData:
    """Collect what a results file can tell.

    Args:
        path: A flat JSON list of records, as `weightatlas bench` writes it.

    Raises:
        RunError: The file holds no records.
    """
    records = load_records(path)
    if not records:
        raise RunError(f"{path} holds no records.", todo="Name a file that weightatlas bench wrote.")
    return ReportData(
        title=Path(path).stem,
        records=tuple(summarize(records)),
        sizes=sizes_of(records),
        versions=records[-1].versions,
        hardware=records[-1].hardware,
        command=records[-1].command,
    )


def sizes_of(records: Sequence[Record]) -> tuple[SizeCurve, ...]:
    """Join methods whose names differ in numbers alone ("int8", "int4") to one curve each.

    Args:
        records: Any records; those with bits per parameter and excess agreement are drawn.
    """
    points: dict[str, list[tuple[str, str, float, float]]] = {}
    sizes = {(r.method, r.seeds): r.value for r in records if r.metric == _SIZE and r.value > 0}
    for record in records:
        if record.metric == _QUALITY and (record.method, record.seeds) in sizes:
            size = sizes[record.method, record.seeds]
            points.setdefault(_NUMBER.sub("…", record.method), []).append(
                (record.method, record.kind, size, record.value)
            )
    return tuple(
        SizeCurve(
            method=family if len(found) > 1 else found[0][0],
            kind=found[0][1],  # pyright: ignore[reportArgumentType]
            bits=[size for _, _, size, _ in found],  # pyright: ignore[reportArgumentType]
            excess=[value for _, _, _, value in found],  # pyright: ignore[reportArgumentType]
        )
        for family, found in points.items()
    )
