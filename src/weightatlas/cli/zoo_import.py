"""weightatlas zoo import: plain checkpoints, or a published zoo."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from weightatlas.cli import console
from weightatlas.cli.arguments import WrongUsage, settings

_LINES = 30  # architectures shown in the terminal


def import_(
    source: Annotated[Path, tyro.conf.Positional],
    out: Path,
    format: str = "auto",
    network: str | None = None,
    task: str | None = None,
    metrics: Path | None = None,
    limit: int | None = None,
    set: tuple[str, ...] = (),
    json: bool = False,
    dry_run: bool = False,
) -> None:
    """Make a zoo of a folder of checkpoints, or of a published zoo; say why anything is left out.

    Published zoos (docs/published_zoos.md) are recognized by their files. In other folders every checkpoint
    is read and grouped by architecture. There, without --network, architectures are inferred from names and
    shapes: such networks can be embedded, compared and predicted from, but not run. Files in one subfolder
    count as one lineage. Running again adds new files.

    Example:
        weightatlas zoo import my-checkpoints --out runs/my-zoo --metrics my-checkpoints/results.csv

    Args:
        source: Folder of checkpoints, searched deeply; or a published zoo, unpacked.
        out: Folder of the zoo.
        format: files for plain checkpoints, or a published format: cnn_park, navon, nfn_siren, ray_tune,
            sample_sets, token_sets, unterthiner, vector_zoo. auto tells by the files; a folder given
            with --network, --task or --metrics is one of plain checkpoints.
        network: Name of the architecture (cnn3, lenet5, ...); own classes are imported from Python.
        task: What the networks were trained on, if it is known.
        metrics: CSV or JSON with a row per file: file, step, test_acc, lineage, ...
        limit: Read at most this many networks of a published zoo.
        set: Options of the network, as key=value.
        json: Print as JSON.
        dry_run: Only say how many files would be read.
    """
    options = settings(set)
    plain = format == "auto" and (network or task or metrics)
    chosen = "files" if plain else _format(format, source)
    _refuse_idle(chosen, {"task": task, "metrics": metrics}, limit, options, network)
    if chosen != "files":
        _published(source, out, chosen, network, options, limit, json, dry_run)
        return
    from weightatlas.tasks import create_task
    from weightatlas.weights.files import find_checkpoints
    from weightatlas.zoo.importers.folder import import_folder

    known = create_task(task) if task else None
    if known is not None and network is not None:
        shape = {"channels_in": known.input_shape[0], "image_size": known.input_shape[1]}
        options = {**shape, "classes": known.classes, **options}
    if dry_run:
        entries = list(find_checkpoints(source))
        files = sum(not entry.skipped for entry in entries)
        facts = {"files": files, "no checkpoints": len(entries) - files, "network": network or "inferred"}
        console.print_facts({**facts, **options}, as_json=json)
        return
    done = import_folder(source, out, network, network_options=options, task=known, metrics=metrics)
    _print_import(done, json)


def _refuse_idle(
    format: str, of_files: dict[str, Any], limit: int | None, options: dict[str, Any], network: str | None
) -> None:
    """Refuse what would have no effect.

    Raises:
        WrongUsage: A flag belongs to the other kind of zoo, or options have no network.
    """
    given = [name for name, value in of_files.items() if value is not None]
    if format != "files" and given:
        raise WrongUsage(f"--{given[0]}: the zoo's own are taken from a folder of the format '{format}'.")
    if format == "files" and limit is not None:
        raise WrongUsage("--limit: folders of plain checkpoints are read whole; it is for published zoos.")
    if options and network is None:
        raise WrongUsage("--set: options of which network? Name it: --network NAME.")


def _format(format: str, source: Path) -> str:
    """Find the published format of a folder, or "files"."""
    if format == "files" or not source.is_dir():
        return "files"
    from weightatlas.zoo.importers.published import format_of
    from weightatlas.zoo.importers.registry import importers

    if format == "auto":
        return format_of(source) or "files"
    importers.get(format)
    return format


def _published(
    source: Path,
    out: Path,
    format: str,
    network: str | None,
    options: dict[str, Any],
    limit: int | None,
    json: bool,
    dry_run: bool,
) -> None:
    """Import a published zoo and say what became of it."""
    from weightatlas.zoo.importers.published import import_published
    from weightatlas.zoo.importers.registry import importers

    given = {"network": network, "options": options} if network else {}
    importer = importers.create(format, **given)
    about = {"format": format, "what it is": importer.title, "what is lost": importer.loses}
    if dry_run:
        console.print_facts({**about, "folder": str(out)}, as_json=json)
        return
    done = import_published(source, out, format, limit=limit, **given)
    facts = {
        **about,
        "read": done.read,
        "skipped": len(done.skipped),
        "coverage": f"{done.coverage:.0%} of {done.found:,} networks",
        "architectures": len(done.zoo.specs),
        "diverged": done.zoo.diverged,
        "folder": str(done.zoo.path),
    }
    if json:
        console.print_json({**facts, "why skipped": done.skipped, "notes": list(done.notes)})
        return
    console.say_skipped(done.skipped, str(done.zoo.path / "import.json"))
    for note in done.notes:
        console.say(note)
    console.print_facts(facts)


def _print_import(done: Any, json: bool) -> None:
    """Say what was read, renamed and skipped, and how much of the folder that is."""
    facts = {
        "read": len(done.read),
        "skipped": len(done.skipped),
        "renamed": len(done.renamed),
        "rows": len(done.zoo),
        "coverage": f"{done.coverage:.0%} of {done.files:,} files",
        "folder": str(done.zoo.path),
    }
    if json:
        skipped = {str(path): reason for path, reason in done.skipped.items()}
        console.print_json({**facts, "groups": list(done.groups), "why skipped": skipped})
        return
    console.say_skipped(done.skipped, str(done.zoo.path / "import.json"))
    if done.groups:
        console.print_rows(done.groups[:_LINES], title="Architectures")
        if len(done.groups) > _LINES:
            console.say(
                f"… and {len(done.groups) - _LINES} more architectures: {done.zoo.path / 'import.json'}"
            )
    console.print_facts(facts)
