"""Shards: weights in safetensors, their rows in a sealed sidecar that is renamed last."""

import hashlib
import time
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from weightatlas.atomic import alone, write_bytes
from weightatlas.errors import FileError
from weightatlas.zoo.table import Table, repair_hint

_STALE = 600.0  # Seconds after which a file without sidecar cannot belong to a live writer.


def shard_keys(folder: Path) -> list[str]:
    """List the shards of a zoo: a shard exists when its sidecar does."""
    return sorted(path.stem for path in (folder / "weights").glob("*.parquet") if path.name[0] != ".")


def weights_path(folder: Path, key: str) -> Path:
    """Path of the numbers of a shard."""
    return folder / "weights" / f"{key}.safetensors"


def sidecar_path(folder: Path, key: str) -> Path:
    """Path of the rows of a shard."""
    return folder / "weights" / f"{key}.parquet"


def write_shard(folder: Path, key: str, values: Float[Tensor, "networks params"], rows: Table) -> None:
    """Write a shard whole or not at all; one that exists is left alone.

    Args:
        folder: The zoo.
        key: Name of the shard.
        values: Networks as rows.
        rows: Their columns, in the same order, without `shard`, `row` and the checksums.

    Raises:
        FileError: The disk is full or the folder cannot be written to.
    """
    data = save({"weights": smallest_exact(values.detach().cpu().contiguous())})
    rows = rows.with_column("shard", [key] * len(rows)).with_column("row", range(len(rows)))
    rows = rows.with_column("shard_bytes", [len(data)] * len(rows))
    rows = rows.with_column("shard_sha256", [hashlib.sha256(data).hexdigest()] * len(rows))
    # Of two processes that train the same shard, one must not put its weights beside the other's rows.
    with alone(folder / "weights"):
        if not sidecar_path(folder, key).exists():
            write_bytes(weights_path(folder, key), data)
            write_bytes(sidecar_path(folder, key), rows.to_bytes())


def smallest_exact(values: Float[Tensor, "networks params"]) -> Tensor:
    """Store numbers in half the room if not one of them changes by it."""
    for dtype in (torch.float16, torch.bfloat16):
        small = values.to(dtype)
        if torch.equal(small.float().view(torch.int32), values.float().view(torch.int32)):
            return small
    return values.float()


def read_sidecar(folder: Path, key: str) -> Table:
    """Read the rows of a shard.

    Raises:
        FileError: The sidecar is damaged.
    """
    path = sidecar_path(folder, key)
    try:
        return Table.from_bytes(path.read_bytes(), str(path))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.", todo=repair_hint(str(path))) from None


def read_weights(folder: Path, key: str, size: int, rows: Tensor) -> Float[Tensor, "rows params"]:
    """Read some rows of a shard as float32, memory-mapped.

    Args:
        folder: The zoo.
        key: The shard.
        size: Bytes its file must have.
        rows: Positions in the shard.

    Raises:
        FileError: The file is missing, truncated or no safetensors file.
    """
    path = weights_path(folder, key)
    found = path.stat().st_size if path.exists() else None
    if found != size:
        state = "is missing" if found is None else f"has {found} bytes instead of {size}: it is truncated"
        raise FileError(f"{path} {state}.", todo=repair_hint(str(path)))
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("weights")[rows].float()
    except (SafetensorError, OSError, IndexError) as error:
        raise FileError(f"{path} is damaged: {error}.", todo=repair_hint(str(path))) from None


def leftovers(folder: Path) -> list[Path]:
    """List what an interrupted writer left: temporary files and weights without sidecar."""
    found = []
    for path in sorted((folder / "weights").glob("*")) + sorted(folder.glob(".*.tmp")):
        orphan = path.suffix == ".safetensors" and not path.with_suffix(".parquet").exists()
        if orphan or path.suffix == ".tmp":
            found.append(path)
    return found


def clean(folder: Path, age: float = _STALE) -> list[Path]:
    """Delete leftovers older than `age` seconds, so that a live writer is not disturbed."""
    removed = []
    for path in leftovers(folder):
        try:
            if time.time() - path.stat().st_mtime >= age:
                path.unlink()
                removed.append(path)
        except FileNotFoundError:  # Its writer finished in the meantime.
            continue
    return removed
