"""Nothing half-written: temporary name, fsync, rename."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from uuid import uuid4

from weightatlas.errors import FileError

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "the folder may not be written to",
    errno.EPERM: "the folder may not be written to",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
}


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` only if the block succeeds.

    Example:
        >>> from tempfile import mkdtemp
        >>> target = Path(mkdtemp()) / "a.txt"
        >>> with replacing(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'

    Args:
        path: The file to write or replace.

    Raises:
        FileError: The disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # The error that brought us here says more.
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a binary file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing_alone(path: str | Path) -> Iterator[Path]:
    """As `replacing`, one writer at a time; half-written files of writers that were killed are removed.

    Example:
        >>> from tempfile import mkdtemp
        >>> target = Path(mkdtemp()) / "a.txt"
        >>> target.with_name(".a.txt.0123abcd.tmp").touch()
        >>> with replacing_alone(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> [file.name for file in target.parent.iterdir()]
        ['a.txt']

    Args:
        path: The file to write or replace.

    Raises:
        FileError: The disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    with alone(path.parent) as locked:
        # Without a lock a file may belong to a writer that is alive.
        for left in path.parent.glob(f".{escape(path.name)}.*.tmp") if locked else ():
            with suppress(OSError):
                left.unlink()
        with replacing(path) as temporary:
            yield temporary


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Let others who ask for the same folder wait until the block ends, or its process.

    Where the system knows no locks, nobody waits, and the block is told `False`.
    """
    descriptor, locked = None, False
    with suppress(ImportError, OSError):
        import fcntl

        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        locked = True
    try:
        yield locked
    finally:
        if descriptor is not None:
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system allows it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # Some file systems refuse to sync a folder; the rename itself has happened.
        pass
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> FileError:
    """Name the reason why a file could not be written."""
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return FileError(
        f"Cannot write {path}: {reason}.",
        todo="Nothing was changed. Free space or choose another folder, then run the same command again.",
    )
