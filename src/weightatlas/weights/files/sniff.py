"""Tell what a file is from its content, never from its name."""

import json
import stat
from io import BufferedIOBase
from pathlib import Path
from typing import Literal

from weightatlas.errors import FileError
from weightatlas.weights.files.foreign import foreign_format, likely_format

Kind = Literal["zip", "pickle", "safetensors", "onnx", "hdf5", "npy", "json", "shards"]

_AGAIN = "Download it again, with a tool that reports errors."
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--")
HDF5 = b"\x89HDF\r\n\x1a\n"


def kind_of(path: Path) -> Kind:
    """Tell the format of a checkpoint file.

    Args:
        path: A file, or a link to one.

    Raises:
        FileError: There is no such file, it cannot be read, or it is something else; the message says what.
    """
    size = regular_size(path)
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            return _kind(path, file, head, size)
    except OSError as error:
        raise FileError(f"{path} cannot be read.", where=str(error)) from None


def regular_size(path: Path) -> int:
    """Size of a file, after making sure that it is one: opening a pipe would wait forever.

    Raises:
        FileError: There is none, or it is a folder, a pipe, a device, a broken or circular link, or empty.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        what = "is a link to a file that is missing" if path.is_symlink() else ""
        raise FileError(
            f"{path} {what}." if what else f"There is no file {path}.", todo="Check the path."
        ) from None
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read.", where=str(error)) from None
    if stat.S_ISDIR(found.st_mode):
        raise FileError(f"{path} is a folder, not a checkpoint file.", todo="Pass one of the files in it.")
    if not stat.S_ISREG(found.st_mode):
        raise FileError(f"{path} is no ordinary file (a pipe, socket or device).", todo="Pass a file.")
    if not found.st_size:
        raise FileError(f"{path} is empty.", todo="Copy or download it again.")
    return found.st_size


def _kind(path: Path, file: BufferedIOBase, head: bytes, size: int) -> Kind:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(HDF5) or any(_at(file, start) == HDF5 for start in (512, 1024, 2048) if start < size):
        return "hdf5"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    _refuse_pages(path, head)
    found = foreign_format(path, file, head, size)
    if found:
        raise FileError(f"{path} {found[0]}.", todo=found[1])
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and len(head) > 8 and length < 1 << 40:
        return "safetensors"
    if head[:1] == b"\x80" or head[:2] in (b"(d", b"(l", b"(c", b"}q", b"]q", b"(i"):
        return "pickle"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return "shards" if is_index(path, head, size) else "json"
    if _is_onnx(file, size) or (path.suffix == ".onnx" and head[:1] == b"\x08"):
        return "onnx"
    raise unknown(path, head, size)


def is_index(path: Path, head: bytes, size: int) -> bool:
    """Tell whether a JSON file lists the shards of a checkpoint."""
    if size > 64 << 20 or (b"weight_map" not in head and not path.name.endswith(".index.json")):
        return False
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(content, dict) and isinstance(content.get("weight_map"), dict)


def unknown(path: Path, head: bytes, size: int) -> FileError:
    """Say that a file is no checkpoint, and what can be told about it."""
    known = (
        "Known: safetensors, torch.save, ONNX, Keras and other HDF5, .npy, .npz, zips of them, JSON lists."
    )
    if not head.strip(b"\0"):
        return FileError(
            f"{path} is not a checkpoint that can be read.",
            where=f"Its first {len(head):,} of {size:,} bytes are zero: a download that was not finished.",
            todo=_AGAIN,
        )
    likely = likely_format(path, head)
    if likely:
        return FileError(f"{path} {likely[0]}.", todo=likely[1])
    text = head[:200].decode("utf-8", "replace")
    printable = b"\0" not in head and all(c.isprintable() or c.isspace() for c in text)
    shown = repr(text[:60]) if printable else repr(head[:8])
    what = "is text, not a checkpoint" if printable and "\ufffd" not in text else "is of no known format"
    return FileError(f"{path} {what}.", where=f"It starts with {shown}.", todo=known)


def _refuse_pages(path: Path, head: bytes) -> None:
    """Name the web pages that are often found under a checkpoint's name."""
    start = head[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(_PAGES):
        raise FileError(
            f"{path} is a web page, not a checkpoint: the download gave an error page.",
            where=_title(head),
            todo=_AGAIN,
        )


def _title(head: bytes) -> str:
    text = head.decode("utf-8", "replace")
    _, _, after = text.partition("<title>")
    title = " ".join(after.partition("</title>")[0].split())[:120]
    return f"Its title is '{title}'." if title else f"It starts with {' '.join(text.split())[:60]!r}."


def _at(file: BufferedIOBase, start: int) -> bytes:
    file.seek(start)
    return file.read(len(HDF5))


def _is_onnx(file: BufferedIOBase, size: int) -> bool:
    """Follow the outermost fields of a protocol buffer; those of ONNX fill the file and hold a graph (7)."""
    place, seen = 0, set()
    for _ in range(10_000):
        if place == size:
            return 7 in seen
        tag, place = _varint(file, place)
        field, wire = tag >> 3, tag & 7
        if field not in (1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26) or wire not in (0, 2):
            return False
        value, place = _varint(file, place)
        place += value if wire == 2 else 0
        seen.add(field)
        if place > size:
            return 7 in seen and 1 in seen  # A graph that is cut off: the parser says so.
    return False


def _varint(file: BufferedIOBase, place: int) -> tuple[int, int]:
    file.seek(place)
    value = 0
    for index, byte in enumerate(file.read(10)):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, place + index + 1
    return 0, place + 1
