"""Read one checkpoint of any known format and report what was done to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from weightatlas.errors import FileError
from weightatlas.weights.files.checkpoint import Checkpoint, FileReport, Origin, StoredNetwork

_WRAPPERS = (
    "model_state_dict",
    "state_dict",
    "model_state",
    "model",
    "network",
    "net",
    "module",
    "params",
    "ema",
)
_PREFIXES = ("module.", "_orig_mod.")


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read the named tensors of a safetensors or torch file without running any code in it.

    The format is told from the content, not from the name. Wrappers such as `state_dict` or
    `model_state_dict` are opened; the prefixes `module.` and `_orig_mod.` are removed if every
    tensor has them.

    Args:
        path: A checkpoint file.

    Returns:
        Its networks, each as name -> tensor on the CPU, and a report of format and changes.

    Raises:
        FileError: The file is missing, a folder, empty, truncated, unsafe or not a checkpoint.
    """
    path = Path(path)
    head = _head(path)
    if head[:2] == b"PK" or head[:1] == b"\x80":
        from weightatlas.weights.files.torch_file import read_torch

        content, kind = read_torch(path)
    elif len(head) > 8 and head[8:9] == b"{":
        from weightatlas.weights.files.safetensors_file import read_safetensors

        content, kind = read_safetensors(path), "safetensors"
    else:
        raise FileError(
            f"{path} is not a checkpoint that can be read.",
            where=f"It starts with {head[:8]!r}.",
            todo="Known are safetensors files and files of torch.save.",
        )
    tensors, unwrapped, skipped = _unwrap(content, path)
    tensors, renamed = _strip(tensors)
    keys = {new: old for old, new in renamed}
    origins = {
        name: Origin(
            key=keys.get(name, name), dtype=str(t.dtype).removeprefix("torch."), shape=tuple(t.shape)
        )
        for name, t in tensors.items()
    }
    network = StoredNetwork("", tensors, origins, opened=unwrapped, renamed=renamed)
    report = FileReport(path=str(path), format=kind, skipped=dict.fromkeys(skipped, "not a tensor"))
    return Checkpoint(path, kind, (network,), report)


def _head(path: Path) -> bytes:
    """Read the first bytes of a file, or say why that is impossible."""
    if path.is_dir():
        raise FileError(f"{path} is a folder, not a checkpoint file.", todo="Pass one of the files in it.")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise FileError(f"There is no file {path}.", todo="Check the path.") from None
    except OSError as error:
        raise FileError(f"{path} cannot be read.", where=str(error)) from None
    if not head:
        raise FileError(f"{path} is empty.", todo="Copy or download it again.")
    return head


def _unwrap(content: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    """Open wrappers until a mapping with tensors is reached."""
    opened: list[str] = []
    skipped: list[str] = []
    while isinstance(content, Mapping):
        tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        inside = [key for key in _WRAPPERS if _holds_tensors(content.get(key))]
        if inside and len(tensors) <= len(_holds_tensors(content[inside[0]])):
            skipped += [".".join((*opened, str(key))) for key in content if key != inside[0]]
            opened.append(inside[0])
            content = content[inside[0]]
            continue
        if tensors:
            skipped += [".".join((*opened, str(key))) for key in content if str(key) not in tensors]
            return tensors, tuple(opened), tuple(skipped)
        break
    found = sorted(map(str, content))[:8] if isinstance(content, Mapping) else type(content).__name__
    raise FileError(
        f"{path} holds no named tensors.", where=f"Found: {found}.", todo="Save network.state_dict() instead."
    )


def _holds_tensors(value: Any) -> list[str]:
    """List the tensors somewhere in a mapping; empty if it is none."""
    if not isinstance(value, Mapping):
        return []
    own = [str(key) for key, item in value.items() if isinstance(item, Tensor)]
    return own or [key for name in _WRAPPERS for key in _holds_tensors(value.get(name))]


def _strip(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[tuple[str, str], ...]]:
    """Remove prefixes that wrappers of modules add to every name."""
    names = {name: name for name in tensors}
    while True:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in names.values())), None)
        if prefix is None:
            break
        names = {old: new.removeprefix(prefix) for old, new in names.items()}
    renamed = tuple((old, new) for old, new in names.items() if old != new)
    return {names[old]: tensor for old, tensor in tensors.items()}, renamed
