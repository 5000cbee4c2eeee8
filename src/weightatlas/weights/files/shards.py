"""Checkpoints of several files: an index with a weight map, or parts numbered `-00001-of-00003`."""

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from weightatlas.errors import FileError, gather
from weightatlas.weights.files.content import Content, open_file
from weightatlas.weights.files.leaf import Leaf

PART = re.compile(r"^(?P<stem>.+?)[-_.](?P<number>\d{5})[-_]of[-_](?P<total>\d{5})(?P<end>\.\w+)$")


def open_index(path: Path, stack: ExitStack) -> Content:
    """Open all files that the weight map of an index names.

    Args:
        path: The index, `*.index.json`.
        stack: Closes the files after their tensors are read.

    Raises:
        FileError: A file is missing, outside the folder, or lacks a tensor that the index promises.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        mapping = {str(name): str(file) for name, file in index["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
        raise FileError(f"{path} is no index of shards.", todo="Download it again.") from None
    files = sorted(set(mapping.values()))
    _check_files(path, files)
    content = _join([path.parent / file for file in files], stack)
    lacking = [name for name in mapping if name not in content.tree]
    problems = [f"'{name}' should be in {mapping[name]} and is not" for name in lacking[:20]]
    gather(FileError, problems, where=f"In {path}.", todo="Download the shards again.")
    return content


def open_parts(path: Path, stack: ExitStack) -> Content | None:
    """Open all numbered parts that belong to one of them; none if the name has no number.

    Raises:
        FileError: Parts are missing.
    """
    files = parts_of(path)
    return _join(files, stack) if files else None


def parts_of(path: Path) -> list[Path]:
    """List all files of a numbered checkpoint by the name of one; empty if the name has no number.

    Raises:
        FileError: Parts are missing.
    """
    found = PART.match(path.name)
    total = int(found["total"]) if found else 0
    if not found or not 1 < total <= 10_000:
        return []
    pattern = path.name.replace(f"{found['number']}", "{:05d}", 1)
    files = [path.with_name(pattern.format(number)) for number in range(1, total + 1)]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise FileError(
            f"{path} is one of {total} parts; {len(missing)} are missing.",
            where=f"Missing: {', '.join(missing[:4])}{more}.",
            todo="Download all parts into one folder.",
        )
    return files


def index_of(folder: Path) -> Path | None:
    """Find the index of a sharded checkpoint in a folder; safetensors before others."""
    found = sorted(folder.glob("*.index.json"), key=lambda path: (".safetensors" not in path.name, path.name))
    return found[0] if found else None


def _check_files(path: Path, files: list[str]) -> None:
    problems = []
    for file in files[:1000]:
        place = Path(file)
        if place.is_absolute() or ".." in place.parts or "\0" in file:
            problems.append(f"The shard '{file[:100]}' is outside the folder of the index and was not opened")
        elif not _exists(path.parent / file):
            problems.append(f"The shard {file[:100]} is missing")
    gather(FileError, problems, where=f"In {path}.", todo="Download all shards into the folder of the index.")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file system takes, thousands of letters long
        return False


def _join(files: list[Path], stack: ExitStack) -> Content:
    """Put the tensors of several files into one flat dictionary."""
    tree: dict[str, Any] = {}
    formats: dict[str, None] = {}
    content = Content(tree, "")
    for file in files:
        part = open_file(file, stack, inside=True)
        formats[part.format] = None
        if not isinstance(part.tree, dict):
            raise FileError(f"{file} is a shard without names for its tensors.")
        double = [key for key, item in part.tree.items() if key in tree and isinstance(item, Leaf)]
        if double:
            raise FileError(f"{file} holds '{double[0]}' once more than the other shards.")
        tree |= part.tree
        content.skipped |= part.skipped
        content.files += (file.name,)
    content.format = f"sharded {', '.join(formats)}"
    return content
