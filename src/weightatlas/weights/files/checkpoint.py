"""What reading a checkpoint returns: named networks, where each tensor came from, and a report."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from weightatlas.config import Config
from weightatlas.errors import FileError

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_AVERAGE = re.compile(r"ema|swa|polyak|(average|shadow|target|teacher|momentum)[a-z]*", re.IGNORECASE)


def is_average(name: str) -> bool:
    """Tell whether a file keeps a second, slower copy of its network under a name.

    Example:
        >>> is_average("netG_ema"), is_average("targetActor"), is_average("semantic_head")
        (True, True, False)
    """
    return any(_AVERAGE.fullmatch(word) for word in _WORDS.findall(name))


class Origin(Config):
    """How one tensor was kept in the file, and how to give it back.

    Example:
        >>> Origin(key="w", dtype="float64", shape=(3, 2), axes=(1, 0), lossy=True, error=1e-9).error
        1e-09

    Args:
        key: Its key in the file, before anything was renamed.
        dtype: Its number type in the file ("float32", "bfloat16", "float64", "qint8", ...).
        shape: Its shape in the file.
        axes: Order in which the file's axes were taken to reach the PyTorch convention; none if unchanged.
        lossy: True if float32 numbers cannot give the file's numbers back exactly (float64, quantized).
        error: Largest absolute difference between the file's values and their float32 form.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None = None
    lossy: bool = False
    error: float = 0.0


class Operation(Config):
    """One operation of a graph that was kept in the file (ONNX, Keras).

    Args:
        op: Its kind, in the words of the format ("Conv", "Gemm", "Relu", "BatchNormalization", "Dense", ...);
            the last one of an ONNX graph is "Output" and reads what the graph returns; its attribute
            "inputs" names what the graph is given, "batch" says how many at once if that is fixed.
        name: Its name in the file.
        inputs: Names of values and tensors it reads; tensors by their name in `StoredNetwork.tensors`.
        outputs: Names of the values it makes.
        attributes: Strides, padding, epsilon and the like; plain JSON values. "shape" of an ONNX Reshape is
            its target, if that is a constant.
    """

    op: str
    name: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    attributes: dict[str, Any] = {}


@dataclass(frozen=True, eq=False)
class StoredNetwork:
    """One network of a checkpoint.

    Args:
        name: What the file calls it ("actor", "G", "ema", "0"); empty if the file holds only one.
        tensors: Name -> tensor on the CPU, in the file's order and the PyTorch convention (weights
            `(out, in, ...)`). Floating types are kept as stored; quantized tensors are float32.
        origins: Name -> how the file kept it; same keys as `tensors`.
        ties: Groups of names that are one tensor (shared storage, or equal matrices).
        opened: Keys that were opened to reach the tensors, outermost first.
        renamed: (key in the file, name here) of every tensor whose name was changed.
        prefix: The part that all names shared and that was removed, with its dot; empty if none.
        graph: Its operations in execution order, if the file holds them.
        channels_last: Whether its flattens put positions before channels, as those of Keras do.
    """

    name: str
    tensors: dict[str, Tensor]
    origins: dict[str, Origin]
    ties: tuple[tuple[str, ...], ...] = ()
    opened: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    graph: tuple[Operation, ...] = ()
    channels_last: bool = False

    @property
    def lossy(self) -> dict[str, float]:
        """Names that float32 cannot hold exactly -> the largest absolute error of float32."""
        return {name: origin.error for name, origin in self.origins.items() if origin.lossy}

    @property
    def params(self) -> int:
        """Floating numbers, tied tensors once."""
        again = {name for group in self.ties for name in group[1:]}
        floating = {name: t for name, t in self.tensors.items() if t.is_floating_point()}
        return sum(tensor.numel() for name, tensor in floating.items() if name not in again)

    def under(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Give the tensors the names a module expects: as they are, or with one prefix more or less.

        Args:
            names: Names the module uses, for example of its spec.

        Returns:
            Name -> tensor, under those names if a prefix explains the difference; otherwise as they are.
        """
        wanted = set(names)
        own = set(self.tensors)
        keys = {name: self.origins[name].key for name in own}
        choices = [{name: name for name in self.tensors}, keys]
        choices += [{name: prefix + name for name in own} for prefix in _heads(wanted)]
        choices += [{name: name.removeprefix(prefix) for name in own} for prefix in _heads(own)]
        best = max(
            choices, key=lambda new: (len(set(new.values())) == len(own)) * len(wanted & {*new.values()})
        )
        return {best[name]: tensor for name, tensor in self.tensors.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring tensors back to the file's own keys, axes and number types.

        Args:
            tensors: Name -> tensor with the names and shapes of `self.tensors`, for example changed weights.

        Returns:
            Key in the file -> tensor as the file kept it; quantized tensors stay float32.
        """
        return {self.origins[name].key: _back(value, self.origins[name]) for name, value in tensors.items()}

    def __repr__(self) -> str:
        return f"StoredNetwork({self.name!r}, {len(self.tensors)} tensors, {self.params:,} parameters)"


class FileReport(Config):
    """What reading a checkpoint found and left out.

    Args:
        path: The file or folder.
        format: "safetensors", "torch zip", "torch legacy", "onnx", "keras", "hdf5", "npz", "npy", "json", or
            "zip of ..." / "sharded ..." for files inside others.
        files: All files that were read, relative to the folder of `path`.
        skipped: Key -> why it is in no network ("optimizer state", "not a tensor (int)", ...).
        notes: Whole sentences about what was found or changed.
        metadata: Texts the file carries about itself.
    """

    path: str
    format: str
    files: tuple[str, ...] = ()
    skipped: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    metadata: dict[str, str] = {}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint that was read.

    Args:
        path: The file, or the folder of a checkpoint of several files.
        format: See `FileReport.format`.
        networks: Its networks; the one that was trained stands before its moving averages.
        report: What was found, renamed and left out.
    """

    path: Path
    format: str
    networks: tuple[StoredNetwork, ...]
    report: FileReport = field(repr=False)

    @property
    def network(self) -> StoredNetwork:
        """The network, if there is one; the trained one, if the others are moving averages of it.

        Raises:
            FileError: The file holds several different networks.
        """
        first, *others = self.networks
        if all(is_average(other.name) for other in others):
            return first
        raise FileError(
            f"{self.path} holds {len(self.networks)} networks.",
            where=", ".join(f"{net.name} ({net.params:,} parameters)" for net in self.networks[:8]),
            todo=f"Name one, {self.path.name}:{first.name}, or take all: read_checkpoint(path).networks.",
        )

    def named(self, name: str) -> StoredNetwork:
        """One network of several, by its name.

        Args:
            name: What the file calls it.

        Raises:
            FileError: There is no such network.
        """
        for one in self.networks:
            if one.name == name:
                return one
        names = ", ".join(f"'{one.name}'" for one in self.networks[:8] if one.name) or "one without a name"
        raise FileError(f"{self.path} holds no network '{name}'.", todo=f"It holds {names}.")


def _heads(names: Iterable[str]) -> list[str]:
    """List the dotted beginnings of the first few names."""
    found: dict[str, None] = {}
    for name in sorted(names)[:4]:
        parts = name.split(".")
        found |= {".".join(parts[:stop]) + ".": None for stop in range(1, len(parts))}
    return list(found)


def _back(value: Tensor, origin: Origin) -> Tensor:
    """Undo the change of axes and number type of one tensor."""
    import torch

    if origin.axes is not None:
        shape = [origin.shape[axis] for axis in origin.axes]
        order = sorted(range(len(shape)), key=lambda place: origin.axes[place])  # type: ignore[index]
        value = value.reshape(shape).permute(order).contiguous()
    elif value.numel() == prod(origin.shape):
        value = value.reshape(origin.shape)
    dtype = getattr(torch, origin.dtype, None)
    return value.to(dtype) if isinstance(dtype, torch.dtype) and not origin.dtype.startswith("q") else value
