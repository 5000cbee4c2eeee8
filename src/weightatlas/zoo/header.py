"""zoo.json: what all networks of a zoo share."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from weightatlas.atomic import write_text
from weightatlas.config import Config
from weightatlas.errors import FileError, ZooError, gather
from weightatlas.tasks import Task
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import Signature

FORMAT = 1
_NAME = "zoo.json"


class Shares(Config):
    """Shares of lineages in each part of the split."""

    train: float = Field(default=0.70, ge=0, le=1)
    val: float = Field(default=0.15, ge=0, le=1)
    test: float = Field(default=0.15, ge=0, le=1)

    @model_validator(mode="after")
    def _sum_to_one(self) -> "Shares":
        if abs(self.train + self.val + self.test - 1) > 1e-9:
            raise ValueError(f"the shares add up to {self.train + self.val + self.test:.3f}, not to 1")
        return self


class TaskRecord(Config):
    """How a task of the zoo is created again, and the hash of its data."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    sha256: str
    input_shape: tuple[int, int, int]
    classes: int


class NetworkRecord(Config):
    """How networks of one function are built: a registry name and its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Header(Config):
    """The contents of zoo.json.

    Args:
        name: Name of the zoo.
        split: Shares of the split by lineage.
        recipe: What it was populated from, or none.
        tasks: Task id -> how to create it.
        specs: Function id, or layout id if there is no function -> spec.
        signatures: Signature id -> original names and dtypes.
        networks: Function id -> how to build the network, or none if only the user has the code.
        provenance: Who made it, when, from what.
        format: Version of the on-disk format.
    """

    name: str
    split: Shares = Shares()
    recipe: dict[str, Any] | None = None
    tasks: dict[str, TaskRecord] = Field(default_factory=dict)
    specs: dict[str, NetworkSpec] = Field(default_factory=dict)
    signatures: dict[str, Signature] = Field(default_factory=dict)
    networks: dict[str, NetworkRecord | None] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    format: int = FORMAT


def write_header(folder: Path, header: Header) -> None:
    """Write zoo.json whole or not at all, with a checksum."""
    content = header.model_dump(mode="json")
    write_text(folder / _NAME, json.dumps({"sha256": _digest(content), **content}, indent=1) + "\n")


def read_header(folder: Path) -> Header:
    """Read zoo.json.

    Raises:
        FileError: It is missing, damaged, or of a newer format.
    """
    path = folder / _NAME
    try:
        content = json.loads(path.read_bytes())
        digest = content.pop("sha256")
    except (FileNotFoundError, NotADirectoryError):
        raise FileError(f"{folder} is not a zoo: there is no {_NAME}.", todo="Check the path.") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise FileError(f"{path} is damaged.", todo="Restore it, or run the same populate again.") from None
    if content.get("format") != FORMAT:
        raise FileError(
            f"{path} has format {content.get('format')}, this version reads {FORMAT}.",
            todo="Update weightatlas.",
        )
    if _digest(content) != digest:
        raise FileError(
            f"{path} was changed or damaged: its checksum differs.", todo="Restore it from a copy."
        )
    return Header.build(content, where=f"In {path}.")


def has_header(folder: Path) -> bool:
    """Tell whether a folder is a zoo."""
    return (folder / _NAME).is_file()


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something other than a zoo.

    Raises:
        ZooError: The folder is not empty and not a zoo.
        FileError: The path is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder} is a file, a zoo needs a folder.", todo="Choose another folder.")
    if not folder.is_dir() or has_header(folder):
        return
    # A run killed while it wrote its first file leaves a temporary one behind, and may be started again.
    names = sorted(path.name for path in folder.iterdir() if not path.match(f".{_NAME}.*.tmp"))
    if names:
        raise ZooError(
            f"{folder} is not empty and not a zoo; it holds {', '.join(names[:3])}.",
            todo="Choose an empty or new folder.",
        )


def merge(old: Header, new: Header) -> Header:
    """Add what a second run brings to a zoo.

    Raises:
        ZooError: The two disagree about a task's data or the split.
    """
    problems = [
        f"the data of task '{name}' have sha256 {new.tasks[name].sha256[:8]}, the zoo was made with "
        f"{record.sha256[:8]}"
        for name, record in old.tasks.items()
        if name in new.tasks and new.tasks[name].sha256 != record.sha256
    ]
    if old.split != new.split:
        problems.append(f"the split is {new.split}, the zoo has {old.split}")
    gather(ZooError, problems, todo="Choose another folder.")
    return new.replace(
        tasks=old.tasks | new.tasks,
        specs=new.specs | old.specs,
        signatures=old.signatures | new.signatures,
        networks=new.networks | old.networks,
        provenance=old.provenance,
    )


def task_id(task: Task) -> str:
    """Name a task and its options in one short text."""
    options = ",".join(f"{key}={value}" for key, value in sorted(task.options.items()))
    return f"{task.name}[{options}]" if options else task.name


def filed_as(header: Header, task: Task) -> str:
    """Find the id under which a zoo holds a task: its data decide, not the place they were read from."""
    same = (name for name, record in header.tasks.items() if record.sha256 == task.sha256)
    return next(same, task_id(task))


def record_of(task: Task) -> TaskRecord:
    """Write down how a task is created again."""
    return TaskRecord(
        name=task.name,
        options=dict(task.options),
        sha256=task.sha256,
        input_shape=task.input_shape,
        classes=task.classes,
    )


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
