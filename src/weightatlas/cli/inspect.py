"""weightatlas inspect."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightatlas.cli import console
from weightatlas.cli.arguments import WrongUsage

if TYPE_CHECKING:
    from weightatlas.relate.inspection import Inspection

_LINES = 20  # findings shown in the terminal
_MANY = 40  # networks that get a line each; more are summed up by architecture


def inspect(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    run: Path | None = None,
    spectra: bool = True,
    explain: bool = False,
    html: Path | None = None,
    json: bool = False,
) -> int:
    """Say what checkpoints are: format, architecture, health, spectra, and an estimated accuracy.

    Code in a file is never executed. One file is shown with all its tensors, several as one table.
    The exit code is 1 if a value is not finite or a file could not be read.

    Example:
        weightatlas inspect my-checkpoints --run runs/predictor --html report.html

    Args:
        files: Checkpoint files, or folders of them, searched deeply.
        run: Fitted predictor (weightatlas predict ZOO --save RUN --grade): adds an estimate with its 90 %
            interval, or why there is none. Made without --grade, it does not recognize strangers.
        spectra: Compute singular values; --no-spectra is faster.
        explain: Print every conclusion about layers and neurons with its certainty and reason.
        html: Also write a self-contained page.
        json: Print as JSON.
    """
    if not files:
        raise WrongUsage("Name checkpoint files, or folders of them.", todo="weightatlas inspect --help")
    from weightatlas.errors import FileError
    from weightatlas.predict.estimate import Estimator
    from weightatlas.relate.inspection import Inspector

    estimator = Estimator.open(run) if run is not None else None
    paths, failed = _collect(files)
    found, unread = Inspector(estimator, spectra).inspect(paths)
    failed |= unread
    if not found:
        reasons = "\n  ".join(list(failed.values())[:5])
        if len(failed) == 1:
            raise FileError(reasons)
        raise FileError(f"None of {len(failed)} files is a checkpoint that can be read.", where=reasons)
    root = f"{files[0]}/" if len(files) == 1 and files[0].is_dir() else ""
    if html is not None:
        from weightatlas.report.inspection import write_inspection

        console.say(f"Wrote {write_inspection(html, found, failed, root)}.")
    if json:
        console.print_json([_as_json(one) for one in found])
    elif len(found) == 1:
        _print_one(found[0], explain)
    else:
        _print_many(found, failed, root, explain)
    console.say_skipped(failed, "--html")
    if estimator is not None and estimator.caution:
        console.say(estimator.caution)
    return int(bool(unread) or any(one.not_finite for one in found))


def _collect(files: tuple[Path, ...]) -> tuple[list[Path], dict[Path, str]]:
    """List checkpoints in files and folders, and why other files of the folders are none."""
    from weightatlas.weights.files import find_checkpoints

    paths: list[Path] = []
    skipped: dict[Path, str] = {}
    for path in files:
        for entry in find_checkpoints(path) if path.is_dir() else ():
            if entry.skipped:
                skipped[entry.path] = entry.skipped
            else:
                paths.append(entry.path)
        if not path.is_dir():
            paths.append(path)
    return paths, skipped


def _print_one(one: "Inspection", explain: bool) -> None:
    """Show one network with all its tensors."""
    facts = {name: value for name, value in _facts(one).items() if value or name == "not finite"}
    console.print_facts(facts)
    console.print_rows(one.rows)
    for finding in one.findings:
        console.out().print(f"{finding['severity']}: {finding['tensor']}: {finding['text']}", soft_wrap=True)
    if explain:
        console.out().print("\n".join(one.guesses), soft_wrap=True, markup=False)


def _print_many(found: "list[Inspection]", failed: dict[Path, str], root: str, explain: bool) -> None:
    """Show a table with one network a line, the findings, and counts."""
    from weightatlas.report.inspection import facts_of, groups_of, summary_row

    if len(found) > _MANY:
        console.print_rows(groups_of(found, root))
        console.say(f"More than {_MANY} networks: one line an architecture. All are in --html and --json.")
    else:
        console.print_rows([summary_row(one, root) for one in found])
    lines = [
        f"{one.file.removeprefix(root)}: {finding['tensor']}: {finding['text']}"
        for one in found
        for finding in one.findings
        if finding["severity"] != "note"
    ]
    for line in lines[:_LINES]:
        console.out().print(line, soft_wrap=True, markup=False)
    if len(lines) > _LINES:
        console.out().print(f"… and {len(lines) - _LINES:,} more findings: --json or --html")
    if explain:
        for guesses in dict.fromkeys(one.guesses for one in found):
            console.out().print("\n".join(guesses), soft_wrap=True, markup=False)
    console.print_facts(facts_of(found, failed))


def _facts(one: "Inspection") -> dict[str, Any]:
    """What is known about a network as a whole, in words."""
    from weightatlas.report.inspection import summary_row

    row = summary_row(one)
    return {
        **row,
        "tensors": one.tensors,
        "spectra cover": f"{one.coverage:.0%} of the weights",
        "not finite": one.not_finite,
        "opened": list(one.opened),
        "renamed": one.renamed,
        "skipped": [f"{key} ({reason})" for key, reason in one.skipped.items()],
    }


def _as_json(one: "Inspection") -> dict[str, Any]:
    """Everything that is known about a network."""
    from math import isfinite

    facts = asdict(one)
    facts["family"] = one.family.name
    facts["depth"], facts["fingerprint"] = one.family.depth, one.family.fingerprint
    facts["not finite"] = one.not_finite
    facts["estimates"] = [estimate._asdict() for estimate in one.estimates]
    facts["guesses"] = list(one.guesses)
    for name in ("alpha", "stable_rank"):
        facts[name] = facts[name] if isfinite(facts[name]) else None
    return facts
