"""Formats that are recognized and not read: what a file is, and what can be done about it."""

import re
import zlib
from io import BufferedIOBase
from pathlib import Path

_UNPACK = "Unpack it and pass the files inside."
_EXPORT = "Export the network to ONNX."
_KERAS = "Save the network as .keras or .h5, or export it to ONNX."
JOBLIB = (
    "is a joblib file, which is not read",
    "Save its arrays with numpy.savez, or the object with pickle.",
)
_FOOTER = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # of sorted tables, the index of TensorFlow's checkpoints
_PART = re.compile(r"\.data-\d{5}-of-\d{5}$")
_MARKS: tuple[tuple[int, bytes, str, str], ...] = (
    (
        0,
        b"version https://git-lfs",
        "is a Git LFS pointer; the file itself was not downloaded",
        "Run: git lfs pull",
    ),
    (0, b"\x1f\x8b", "is compressed (gzip)", _UNPACK),
    (0, b"BZh", "is compressed (bzip2)", _UNPACK),
    (0, b"\xfd7zXZ\x00", "is compressed (xz)", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "is compressed (zstd)", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7z archive", _UNPACK),
    (0, b"Rar!", "is a RAR archive", _UNPACK),
    (257, b"ustar", "is a tar archive", _UNPACK),
    (0, b"GGUF", "is a GGUF file of quantized weights, which is not read", "Export it as safetensors."),
    (4, b"TFL3", "is a TensorFlow Lite file, which is not read", _EXPORT),
    (0, b"MATLAB 5.0", "is a MATLAB file, which is not read", "Save its arrays with numpy.savez."),
    (12, b"V 1", "is a file of Lua Torch, which is not read", "Save its arrays as HDF5 or numpy files."),
    (0, b"\x12\x01" + bytes(6), "holds parameters of MXNet, which are not read", _EXPORT),
    (0, bytes(4) + b"\x02\0\0\0\x05\0\0\0", "holds weights of Darknet without names and shapes", _EXPORT),
    (0, b"CBM1", "holds trees of CatBoost, not a network", ""),
    (0, b"\0\0\x08\x01", "is a file of data (IDX)", ""),
    (0, b"\0\0\x08\x03", "is a file of data (IDX)", ""),
    (0, b"\x89PNG", "is a PNG image", ""),
    (0, b"\xff\xd8\xff", "is a JPEG image", ""),
    (0, b"GIF8", "is a GIF image", ""),
    (0, b"%PDF", "is a PDF document", ""),
    (0, b"\x7fELF", "is a program", ""),
    (0, b"MZ", "is a program", ""),
    (0, b"PAR1", "is a Parquet table", ""),
    (0, b"SQLite format 3", "is an SQLite database", ""),
    (0, b"#!", "is a script", ""),
)


def foreign_format(path: Path, file: BufferedIOBase, head: bytes, size: int) -> tuple[str, str] | None:
    """Name a known format that is not read, and what to do; none if it is none of them.

    Args:
        path: The file's name.
        file: The file, open anywhere.
        head: Its first bytes.
        size: Its length.
    """
    for place, mark, what, todo in _MARKS:
        if head[place : place + len(mark)] == mark:
            return what, todo
    if head[:1] == b"x" and _inflated(head)[:1] == b"\x80":
        return JOBLIB
    file.seek(max(0, size - len(_FOOTER)))
    if file.read() == _FOOTER:
        return "is the index of a TensorFlow checkpoint, which is not read", _KERAS
    if head[:3] == b"\x08\x01\x12" and _fits(head, 3, size):
        return "is a TensorFlow SavedModel, which is not read", _KERAS
    return None


def likely_format(path: Path, head: bytes) -> tuple[str, str] | None:
    """Guess what a file is that has no mark: protocol buffers, MessagePack, and parts named beside it."""
    if _PART.search(path.name):
        return "is by its name a part of a TensorFlow checkpoint, which is not read", _KERAS
    described = _described_by(path)
    if described:
        return f"is named in {described}: weights of TensorFlow.js, which are not read", _KERAS
    if head[:1] == b"\n" and len(head) > 4:
        inner, start = _varint(head, 1)
        after = head[start + inner : start + inner + 2]
        if head[start : start + 1] == b"\n" and head[start + 2 : start + 3].isalnum():
            return "looks like a graph of TensorFlow, which is not read", _KERAS
        if head[start : start + inner].isascii() and (
            after[:1] in (b"\x12", b"\x1a") or after == b"\xa2\x06"
        ):
            return "looks like a Caffe network, which is not read", _EXPORT
    if 0x81 <= head[0] <= 0x8F and len(head) > 2 and (0xA1 <= head[1] <= 0xBF or head[1] in (0xD9, 0xDA)):
        return "looks like MessagePack (Flax), which is not read", "Save its arrays as safetensors."
    return None


def _described_by(path: Path) -> str:
    """Name a JSON file of TensorFlow.js beside a file that lists it."""
    if path.suffix not in ("", ".bin") and "shard" not in path.name:
        return ""
    for place in sorted(path.parent.glob("*.json"))[:20]:
        try:
            text = place.read_bytes()[: 1 << 22]
        except OSError:
            continue
        if path.name.encode() in text and b'"paths"' in text:
            return place.name
    return ""


def _inflated(head: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(head, 16)
    except zlib.error:
        return b""


def _fits(head: bytes, place: int, size: int) -> bool:
    length, start = _varint(head, place)
    return start + length <= size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Read a number of a protocol buffer, and where it ends."""
    value = 0
    for index, byte in enumerate(data[place : place + 10]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, place + index + 1
    return 0, place + 1
