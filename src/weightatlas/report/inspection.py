"""One self-contained page of what `inspect` found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from weightatlas.atomic import write_text
from weightatlas.relate.inspection import Inspection

_FINDINGS, _NETWORKS = 500, 100


def summary_row(one: Inspection, root: str = "") -> dict[str, Any]:
    """Sum one network up in the columns of the table.

    Args:
        one: The network.
        root: Beginning of the path that is left out.
    """
    name = one.file.removeprefix(root)
    row: dict[str, Any] = {
        "file": f"{name}:{one.network}" if one.network else name,
        "family": one.family.name,
        "health": one.health + (f"; same numbers as {one.same_as.removeprefix(root)}" if one.same_as else ""),
        "fingerprint": one.family.fingerprint,
        "format": one.format,
        "parameters": one.parameters,
        "depth": one.family.depth,
        "dtype": one.dtype,
        "α": round(one.alpha, 2) if isfinite(one.alpha) else None,
        "stable rank": round(one.stable_rank, 2) if isfinite(one.stable_rank) else None,
    }
    return row | {estimate.property: str(estimate) for estimate in one.estimates}


def groups_of(found: Sequence[Inspection], root: str = "") -> list[dict[str, Any]]:
    """Sum networks up by architecture, the most frequent first.

    Args:
        found: The networks.
        root: Beginning of the paths that is left out.
    """
    groups: dict[str, list[Inspection]] = {}
    for one in found:
        groups.setdefault(one.family.fingerprint, []).append(one)
    return [
        {
            "family": group[0].family.name,
            "networks": len(group),
            "healthy": sum(one.health == "ok" for one in group),
            "fingerprint": mark,
            "format": ", ".join(sorted({one.format for one in group})),
            "parameters": group[0].parameters,
            "α": _middle([one.alpha for one in group]),
            "stable rank": _middle([one.stable_rank for one in group]),
            "first file": group[0].file.removeprefix(root),
        }
        for mark, group in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]


def _middle(values: Sequence[float]) -> float | None:
    known = sorted(value for value in values if isfinite(value))
    return round(known[len(known) // 2], 2) if known else None


def facts_of(found: Sequence[Inspection], failed: Mapping[Path, str]) -> dict[str, str]:
    """Count what was found."""
    families = Counter(one.family.name for one in found)
    listed = ", ".join(f"{count} × {name}" for name, count in families.most_common(4))
    more = len(families) - 4
    healthy = sum(one.health == "ok" for one in found)
    covered = min((one.coverage for one in found), default=1.0)
    facts = {
        "networks": f"{len(found):,}",
        "families": listed + (f" and {more} more" if more > 0 else ""),
        "healthy": f"{healthy:,} of {len(found):,}",
        "parameters": f"{sum(one.parameters for one in found):,}",
        "files that could not be read": f"{len(failed):,}",
    }
    if covered < 0.995:
        facts["spectra cover, at least"] = f"{covered:.0%} of the weights"
    copies = sum(one.same_as is not None for one in found)
    return facts | ({"copies": f"{copies:,}"} if copies else {})


def write_inspection(
    path: str | Path, found: Sequence[Inspection], failed: Mapping[Path, str], root: str = ""
) -> Path:
    """Write the page.

    Args:
        path: The file to write.
        found: What was found.
        failed: File -> why it could not be read.
        root: Beginning of the paths that is left out.

    Raises:
        FileError: The file cannot be written.
    """
    path = Path(path)
    write_text(path, render(found, failed, root))
    return path


def render(found: Sequence[Inspection], failed: Mapping[Path, str], root: str = "") -> str:
    """Return the page as text; the same inspection gives the same text."""
    from weightatlas.report.page import template

    rows = [summary_row(one, root) for one in found]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    findings = [
        {"file": row["file"], **finding}
        for one, row in zip(found, rows, strict=True)
        for finding in one.findings
        if finding["severity"] != "note"
    ]
    shown = sorted(found, key=lambda one: one.health == "ok")[:_NETWORKS]
    return template("inspection.html").render(
        title=root.rstrip("/").rpartition("/")[2] or (found[0].file if len(found) == 1 else "Checkpoints"),
        facts=facts_of(found, failed),
        columns=columns,
        rows=[
            {"severity": _severity(one), "cells": [_text(row.get(name)) for name in columns]}
            for one, row in zip(found, rows, strict=True)
        ],
        failed={str(file).removeprefix(root): reason for file, reason in failed.items()},
        findings=findings[:_FINDINGS],
        hidden=max(len(findings) - _FINDINGS, 0),
        architectures=_architectures(found),
        networks=[_tensors(one, root) for one in shown if one.rows],
        unlisted=len(found) - len(shown),
    )


def _architectures(found: Sequence[Inspection]) -> list[dict[str, str]]:
    """One entry per fingerprint, with everything that was concluded about it."""
    first = {one.family.fingerprint: one for one in reversed(found)}
    counts = Counter(one.family.fingerprint for one in found)
    return [
        {
            "title": f"{one.family.name}, {mark}, {counts[mark]:,} networks of {one.parameters:,} parameters",
            "guesses": "\n".join(one.guesses),
        }
        for mark, one in sorted(first.items(), key=lambda item: -counts[item[0]])
    ]


def _tensors(one: Inspection, root: str) -> dict[str, Any]:
    columns = list(one.rows[0])
    return {
        "title": summary_row(one, root)["file"],
        "columns": columns,
        "rows": [[_text(row[name]) for name in columns] for row in one.rows],
    }


def _severity(one: Inspection) -> str:
    found = {finding["severity"] for finding in one.findings}
    return "error" if "error" in found else ("warning" if one.health != "ok" else "")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
