"""Open zip files whose contents fit the size of the file, and read their members whole and checked."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from struct import error as StructError
from typing import cast

from weightatlas.errors import FileError

ROOM = 256 << 20
"""Bytes a small file may unpack to."""
MOST_ENTRIES = 200_000
RATIO = 16
"""How many times its own size a large file may unpack to."""

_DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    StructError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
)


def damaged(path: Path, reason: str, kind: str = "file") -> FileError:
    """Say that a file cannot be read to its end."""
    return FileError(
        f"{path} is a truncated or damaged {kind}.",
        where=" ".join(reason.split())[:300],
        todo="Copy or download it again.",
    )


def allowed(size: int) -> int:
    """Bytes that a file of `size` bytes may unpack to before it counts as a bomb."""
    return max(ROOM, RATIO * size)


class Archive:
    """An open zip file whose directory has been checked.

    Args:
        path: The file.
        file: The open zip file.
    """

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self.path, self.file = path, file
        self.sizes = {info.filename: info.file_size for info in _files(file)}

    @property
    def names(self) -> list[str]:
        return list(self.sizes)

    def head(self, name: str, size: int = 1 << 14) -> bytes:
        """Read the first bytes of one member.

        Raises:
            FileError: It is damaged.
        """
        try:
            with self.file.open(name) as member:
                return member.read(size)
        except _DAMAGE as error:
            raise damaged(self.path, _reason(name, str(error)), "zip file") from None

    def read(self, name: str) -> bytearray:
        """Read one member and compare its checksum.

        Raises:
            FileError: It is damaged.
        """
        data = bytearray(self.sizes[name])
        try:
            with cast(BufferedIOBase, self.file.open(name)) as member:
                view, done = memoryview(data), 0
                while done < len(data) and (step := member.readinto(view[done : done + (1 << 24)])):
                    done += step
                more = member.read(1)
        except _DAMAGE as error:
            raise damaged(self.path, _reason(name, str(error)), "zip file") from None
        if done != len(data) or more:
            raise damaged(
                self.path, f"Its entry {name} has another size than its directory says.", "zip file"
            )
        return data


@contextmanager
def open_zip(path: Path) -> Iterator[Archive]:
    """Open a zip file after comparing the sizes it declares with the size it has.

    Args:
        path: The file.

    Raises:
        FileError: It is cut off, damaged, encrypted, or would unpack to far more than it is.
    """
    size = path.stat().st_size
    try:
        file = zipfile.ZipFile(path)
    except _DAMAGE as error:
        text = str(error)
        cut = "The zip directory at its end is missing: the file is half-downloaded or no zip file."
        raise damaged(path, cut if "not a zip" in text else text, "zip file") from None
    with file:
        _check(path, file, size)
        yield Archive(path, file)


def _check(path: Path, file: zipfile.ZipFile, size: int) -> None:
    """Refuse directories that contradict the size of the file."""
    entries = file.infolist()
    if len(entries) > MOST_ENTRIES:
        raise damaged(path, f"Its zip directory lists {len(entries):,} entries.", "zip file")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > allowed(size):
        raise FileError(
            f"{path} would unpack from {size:,} to {unpacked:,} bytes, so it was not unpacked.",
            where=f"Its zip directory lists {len(entries):,} entries.",
            todo="If that is right, unpack it yourself and pass the files.",
        )
    if sum(entry.compress_size for entry in entries) > size:
        raise damaged(path, "The entries of its zip directory overlap or end behind the file.", "zip file")
    if len({entry.filename for entry in entries}) != len(entries):
        raise damaged(path, "Its zip directory lists a name twice.", "zip file")
    if any(entry.flag_bits & 1 for entry in entries):
        raise FileError(f"{path} is encrypted.", todo="Unpack it with its password and pass the files.")


def _files(file: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [info for info in file.infolist() if not info.filename.endswith("/")]


def _reason(name: str, text: str) -> str:
    return f"The checksum of its entry {name} is wrong." if "CRC" in text else f"Entry {name}: {text}"
