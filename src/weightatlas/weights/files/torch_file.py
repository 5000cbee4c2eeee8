"""Read files of `torch.save`, zip and legacy, without running any code in them."""

import pickle
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from weightatlas.errors import FileError

_DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)


def read_torch(path: Path) -> tuple[Any, str]:
    """Read the content of a torch file; only tensors and plain containers are accepted.

    Args:
        path: The file.

    Returns:
        The content, and "torch zip" or "torch legacy".

    Raises:
        FileError: The file is truncated, damaged, or would run code when it is opened.
    """
    kind = "torch zip" if _is_zip(path) else "torch legacy"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True), kind
    except pickle.UnpicklingError as error:
        text = str(error)
        if "Unsupported" not in text and "GLOBAL" not in text and "unsafe" not in text.lower():
            raise _damaged(path, text) from None
        raise FileError(
            f"{path} holds more than tensors: opening it would run code, so it was not opened.",
            where="It is a pickle of Python objects." if "operand" in text else _reason(text),
            todo="Where you trust it, load it yourself and save network.state_dict() as safetensors.",
        ) from None
    except _DAMAGE as error:
        raise _damaged(path, str(error) or "It ends early.") from None


def _is_zip(path: Path) -> bool:
    """Tell a zip file by its start; a truncated one has lost its directory, at the end."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return False
    if not zipfile.is_zipfile(path):
        raise _damaged(path, "The zip directory at its end is missing.")
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (*_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, str(error)) from None
    if bad is not None:
        raise _damaged(path, f"The checksum of its entry {bad} is wrong.")
    return True


def _damaged(path: Path, reason: str) -> FileError:
    """Say that a file cannot be read to its end."""
    return FileError(
        f"{path} is a truncated or damaged torch file, or no checkpoint.",
        where=_reason(reason),
        todo="Copy or download it again.",
    )


def _reason(text: str) -> str:
    """Keep the line of torch's long message that names the reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return (named or lines)[0].split(" Please use ")[0][:200]
