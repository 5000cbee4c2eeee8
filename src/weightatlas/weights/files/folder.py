"""Walk a folder: which of its files are checkpoints, which belong together, and why the others are not."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from weightatlas.errors import FileError
from weightatlas.weights.files.shards import parts_of
from weightatlas.weights.files.sniff import kind_of

_HIDDEN = (".git", ".hg", ".svn", "__pycache__", "node_modules", ".ipynb_checkpoints")
_PARTIAL = (".part", ".crdownload", ".incomplete", ".aria2", ".tmp", ".download")
_OPTIMIZER = re.compile(r"(^|[._-])(optimizer|optim|scheduler|scaler|rng_state(_\d+)?|training_args)\.\w+$")


@dataclass(frozen=True)
class Found:
    """One entry of a walk: a checkpoint, or something that is not.

    Args:
        path: What to pass to `read_checkpoint`: a file, or the index or first part of several.
        files: All files that belong to it.
        skipped: Why it is no checkpoint; empty if it looks like one. Only its first bytes were looked at.
    """

    path: Path
    files: tuple[Path, ...]
    skipped: str = ""


def find_checkpoints(folder: str | Path) -> Iterator[Found]:
    """Yield every file below a folder, shards together as one; only the first bytes of files are read.

    Links to folders are not followed, a file that is reached twice counts once, and what is no checkpoint is
    yielded with the reason.

    Example:
        >>> import torch, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> torch.save({"w": torch.ones(2)}, folder / "a.pt")
        >>> _ = (folder / "notes.txt").write_text("hello")
        >>> [(found.path.name, bool(found.skipped)) for found in find_checkpoints(folder)]
        [('a.pt', False), ('notes.txt', True)]

    Args:
        folder: Where to look, deeply.

    Raises:
        FileError: There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(f"There is no folder {folder}.", todo="Check the path.")
    seen: dict[tuple[int, int], Path] = {}
    for place, folders, files in os.walk(folder):
        links = sorted(name for name in folders if os.path.islink(os.path.join(place, name)))
        for name in links:
            yield Found(Path(place, name), (), "a link to a folder")
        folders[:] = sorted(name for name in folders if name not in _HIDDEN and name not in links)
        yield from _grouped(Path(place), sorted(files), seen)


def _grouped(place: Path, names: list[str], seen: dict[tuple[int, int], Path]) -> Iterator[Found]:
    """Yield the files of one folder, those that an index or a number binds together first."""
    taken: set[Path] = set()
    ordered = sorted(names, key=lambda name: not name.endswith(".index.json"))
    for path in (place / name for name in ordered):
        if path in taken:
            continue
        found = _one(path, seen)
        taken.update(found.files)
        yield found


def _one(path: Path, seen: dict[tuple[int, int], Path]) -> Found:
    try:
        kind = kind_of(path)
        status = path.stat()
        first = seen.setdefault((status.st_dev, status.st_ino), path)
        if first != path:
            return Found(path, (path,), f"the same file as {first}")
        if path.suffix.lower() in _PARTIAL:
            return Found(path, (path,), "an unfinished download")
        if _OPTIMIZER.search(path.name):
            return Found(path, (path,), "by its name the state of an optimizer or a run, not of a network")
        if kind == "json" and not _is_numbers(path):
            return Found(path, (path,), "JSON, but not lists of numbers")
        files = _shards(path) if kind == "shards" else parts_of(path)
    except (FileError, OSError) as error:
        what = error.what if isinstance(error, FileError) else str(error)
        return Found(path, (path,), what.removeprefix(f"{path} "))
    return Found(path, (path, *(file for file in files if file != path)))


def _shards(path: Path) -> list[Path]:
    import json

    mapping = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    return [path.parent / file for file in sorted(set(map(str, mapping.values())))]


def _is_numbers(path: Path) -> bool:
    """Guess from the first bytes whether a JSON file is made of lists of numbers."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    return sum(head.count(byte) for byte in b"0123456789.-,[] \n\te") > 0.7 * len(head)
