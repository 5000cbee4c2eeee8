"""One record per measured number: written, read, and joined over seeds."""

import json
import math
import platform
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from weightatlas import runtime
from weightatlas.atomic import write_text
from weightatlas.config import Config
from weightatlas.errors import FileError

Kind = Literal["ours", "baseline", "published"]
Number = Annotated[
    float,
    BeforeValidator(lambda value: math.nan if value is None or value != value else value),
    PlainSerializer(lambda value: None if math.isnan(value) else value, when_used="json"),
]
"""A number, or NaN where there is none: null in JSON."""

REFUSED = "refused"  # the metric of a record without a number
_PACKAGES = ("weightatlas", "torch", "numpy", "scipy", "scikit-learn")


class Record(Config):
    """One measured number and everything needed to judge it.

    Example:
        >>> Record(bench="losses", tier="smoke", zoo="digits", method="CSB", metric="R2", value=0.9).kind
        'ours'

    Args:
        bench: The experiment ("losses", "rebuild", "generate", ...).
        tier: "smoke", "laptop" or "paper".
        zoo: Name of the zoo, never a path.
        method: What was measured.
        kind: Our method, a trivial baseline beside it, or a number printed in a paper.
        metric: Name of the number.
        value: The number; must be finite, or NaN with a note.
        spread: Standard deviation over seeds, or over networks if there is one seed.
        n: Networks the number was measured on.
        seeds: Seeds it comes from; one for a finished run, several for a summary.
        split: How training and test networks were separated.
        seconds: Wall time of the run.
        peak_mb: Peak memory of the run.
        command: How to get the number again.
        hardware: Processor, cores and accelerator.
        versions: Package name -> version.
        note: Why there is no number: the method refuses these networks. Tables show `-` and the reason.
    """

    bench: str
    tier: str
    zoo: str
    method: str
    kind: Kind = "ours"
    metric: str
    value: Number
    spread: float | None = Field(default=None, allow_inf_nan=False)
    n: int | None = None
    seeds: tuple[int, ...] = ()
    split: str = "lineage"
    seconds: float | None = None
    peak_mb: float | None = None
    command: str = ""
    hardware: str = ""
    versions: dict[str, str] = Field(default={})
    note: str = ""

    @model_validator(mode="after")
    def _a_number_or_a_reason(self) -> Self:
        if not math.isfinite(self.value) and not (math.isnan(self.value) and self.note):
            raise ValueError(f"the value of '{self.metric}' is not finite; say in `note` why there is none")
        if math.isfinite(self.value) and self.note:
            raise ValueError(f"the value of '{self.metric}' needs no note, which says why there is none")
        return self

    @property
    def key(self) -> tuple[object, ...]:
        """What makes a record the same measurement as another."""
        return (self.bench, self.tier, self.zoo, self.method, self.metric, self.seeds, self.kind, self.split)


def refusal(reason: str, **about: Any) -> Record:
    """Record that a method takes no part, so that its row is shown with the reason and not tried again.

    Example:
        >>> found = refusal("too wide", bench="b", tier="smoke", zoo="z", method="m", seeds=(0,))
        >>> found.metric, found.note, found.model_dump(mode="json")["value"]
        ('refused', 'too wide', None)

    Args:
        reason: What is wrong, as the error says it.
        about: Fields of the record.
    """
    return Record.build({**about, "metric": REFUSED, "value": None, "note": reason})


def load_records(path: str | Path) -> list[Record]:
    """Read a results file; a file that does not exist holds no records.

    Raises:
        FileError: The file is not a JSON list of records.
        ConfigError: A record has unknown keys or wrong values.
    """
    path = Path(path)
    if not path.exists():
        return []
    todo = "Move the file away and run the bench again, or restore it."
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileError(f"{path} cannot be read as JSON: {error}", todo=todo) from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise FileError(f"{path} is not a list of records.", todo=todo)
    return [Record.build(row, where=f"In record {place} of {path}.") for place, row in enumerate(rows)]


def append_records(path: str | Path, records: Iterable[Record]) -> list[Record]:
    """Add records to a results file; a repeated measurement replaces its older record, numbers a refusal.

    The file is rewritten whole or not at all.

    Args:
        path: A flat JSON list; made if missing.
        records: What was measured.

    Returns:
        All records the file holds now.
    """
    merged = {record.key: record for record in load_records(path)}
    merged |= {record.key: record for record in records}
    measured = {_row(record) for record in merged.values() if not record.note}
    kept = [record for record in merged.values() if not (record.note and _row(record) in measured)]
    rows = [record.model_dump(mode="json", exclude=None if record.note else {"note"}) for record in kept]
    write_text(path, json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return kept


def _row(record: Record) -> tuple[object, ...]:
    """What all numbers of one method and seed have in common."""
    return (record.bench, record.tier, record.zoo, record.method, record.seeds, record.kind, record.split)


def finished(path: str | Path, bench: str, tier: str, zoo: str, method: str, seed: int) -> list[Record]:
    """Return what a bench has already measured for one method, zoo and seed; empty if it must still run."""
    wanted = (bench, tier, zoo, method, (seed,))
    return [r for r in load_records(path) if (r.bench, r.tier, r.zoo, r.method, r.seeds) == wanted]


def stamped(records: Iterable[Record], command: str = "") -> list[Record]:
    """Fill in hardware, versions, command and peak memory where a record lacks them.

    Numbers of papers were measured elsewhere: their memory stays unknown.
    """
    blank = {"hardware": hardware(), "versions": versions(), "command": command}
    own = {**blank, "peak_mb": round(peak_mb(), 1)}
    return [
        record.replace(**{key: value for key, value in facts.items() if not getattr(record, key)})
        for record in records
        for facts in (blank if record.kind == "published" else own,)
    ]


def summarize(records: Iterable[Record]) -> list[Record]:
    """Join the records of several seeds into mean and standard deviation over seeds.

    A measurement with one seed is returned as it is, and so is what has no seed or is a mean already.
    Published numbers are never averaged.

    Example:
        >>> base = dict(bench="b", tier="smoke", zoo="z", method="m", metric="R2")
        >>> joined = summarize(Record(**base, value=v, seeds=(s,)) for s, v in enumerate((1.0, 3.0)))
        >>> joined[0].value, joined[0].seeds
        (2.0, (0, 1))
    """
    groups: dict[tuple[object, ...], list[Record]] = {}
    for r in records:
        # A record without seeds, or of several, is no further seed of those that have one each.
        own = r.seeds if r.kind == "published" or len(r.seeds) != 1 else "one each"
        groups.setdefault((r.bench, r.tier, r.zoo, r.method, r.metric, r.kind, r.split, own), []).append(r)
    return [_joined(group) for group in groups.values()]


def _joined(group: list[Record]) -> Record:
    """Average the records of one measurement over its seeds."""
    if len(group) == 1:
        return group[0]
    if group[0].note:
        return group[0].replace(seeds=tuple(sorted({seed for record in group for seed in record.seeds})))
    values = [record.value for record in group]
    seconds = [record.seconds for record in group if record.seconds is not None]
    peaks = [record.peak_mb for record in group if record.peak_mb is not None]
    return group[0].replace(
        value=fmean(values),
        spread=stdev(values),
        seeds=tuple(sorted({seed for record in group for seed in record.seeds})),
        seconds=fmean(seconds) if seconds else None,
        peak_mb=max(peaks) if peaks else None,
    )


@cache
def hardware() -> str:
    """Name the processor, the cores this process may use, and the accelerator."""
    import torch

    parts = [_processor(), f"{runtime.cores()} cores"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def _processor() -> str:
    """Find the name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions that matter for a measured number."""
    found: dict[str, str] = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def new_peak() -> None:
    """Let `peak_mb` tell of the time from now on, where the system allows it (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mb() -> float:
    """Return the most memory this process has held so far, or since `new_peak`, in megabytes."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return 0.0
    peak: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)
