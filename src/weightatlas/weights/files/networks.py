"""Content of a file -> named networks with tensors in memory."""

from collections.abc import Hashable
from pathlib import Path

import torch
from torch import Tensor

from weightatlas.errors import FileError
from weightatlas.weights.files.checkpoint import Checkpoint, FileReport, Operation, Origin, StoredNetwork
from weightatlas.weights.files.content import Content
from weightatlas.weights.files.leaf import Leaf, read_leaf
from weightatlas.weights.files.names import counters_beside, short_names
from weightatlas.weights.files.torch_values import Opaque
from weightatlas.weights.files.tree import Group, TooMuch, kind_of_value, networks_in
from weightatlas.weights.files.zip_file import allowed, damaged

_TIED = 64
_MOST_TENSORS = 150_000  # more than the largest mixtures of experts have
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, OSError, OverflowError, NotImplementedError)


class _Budget:
    """Reads tensors once each, and stops before they take far more memory than the file has bytes."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.left = path, allowed(size)
        self.read: dict[Hashable, tuple[Tensor, Origin]] = {}
        self.tensors = 0

    def load(self, leaf: Leaf, key: str) -> tuple[Tensor, Origin]:
        self.tensors += 1
        if self.tensors > _MOST_TENSORS:
            raise damaged(self.path, f"It lists more than {_MOST_TENSORS:,} tensors.", "checkpoint")
        if leaf.place is not None and (leaf.place, leaf.axes) in self.read:
            tensor, origin = self.read[leaf.place, leaf.axes]
            return tensor, origin.replace(key=key)
        self.left -= leaf.size * 4
        if self.left < 0:
            raise damaged(
                self.path, "Its tensors would take far more memory than the file has bytes.", "checkpoint"
            )
        try:
            found = read_leaf(leaf, key)
        except _FAILURES as error:
            raise damaged(self.path, f"'{key}': {error}", "checkpoint") from None
        if leaf.place is not None:
            self.read[leaf.place, leaf.axes] = found
        return found


def checkpoint_of(path: Path, content: Content, size: int) -> Checkpoint:
    """Find the networks in the content of a file and read their tensors.

    Args:
        path: The file or folder.
        content: What was found in it.
        size: Bytes of all its files.

    Raises:
        FileError: There is no network in it, or a tensor is damaged.
    """
    try:
        groups, skipped, cut = networks_in(content.tree)
    except TooMuch as error:
        raise damaged(path, str(error), "checkpoint") from None
    skipped = {**content.skipped, **skipped}
    if not groups:
        raise _nothing(path, content, skipped)
    budget = _Budget(path, size)
    networks = tuple(_network(name, group, content, budget, skipped) for name, group in groups)
    notes = list(content.notes)
    if cut:
        notes.append("The file holds too many values, or the same ones too often; not all were looked at.")
    for network in networks:
        notes += _notes(network)
    report = FileReport(
        path=str(path),
        format=content.format,
        files=content.files,
        skipped=skipped,
        notes=tuple(notes),
        metadata=content.metadata,
    )
    return Checkpoint(path, content.format, networks, report)


def _network(
    name: str, group: Group, content: Content, budget: _Budget, skipped: dict[str, str]
) -> StoredNetwork:
    """Read the tensors of one network under short names."""
    leaves = dict(group.leaves)
    for key in counters_beside(list(leaves)):
        del leaves[key]
        skipped[".".join((*group.opened, key))] = "a counter of an averaging wrapper"
    short, prefix = short_names(list(leaves))
    names = dict(zip(leaves, short, strict=True))
    tensors: dict[str, Tensor] = {}
    origins: dict[str, Origin] = {}
    places: dict[Hashable, list[str]] = {}
    for key, leaf in leaves.items():
        if leaf.dtype.startswith("meta"):
            continue
        tensor, origin = budget.load(leaf, content.keys.get(key, key))
        tensors[names[key]], origins[names[key]] = tensor, origin
        if leaf.place is not None and leaf.size:
            places.setdefault(leaf.place, []).append(names[key])
    return StoredNetwork(
        name=name,
        tensors=tensors,
        origins=origins,
        ties=_ties(tensors, places),
        opened=group.opened,
        renamed=tuple((origins[new].key, new) for new in tensors if origins[new].key != new),
        prefix=prefix,
        graph=tuple(_renamed(step, names) for step in content.graph),
        channels_last="keras" in content.format,
    )


def _ties(tensors: dict[str, Tensor], places: dict[Hashable, list[str]]) -> tuple[tuple[str, ...], ...]:
    """Group names that are one tensor: shared storage, or equal matrices that are not constant."""
    groups = [tuple(names) for names in places.values() if len(names) > 1]
    known = {name for group in groups for name in group}
    alike: dict[Hashable, list[str]] = {}
    for name, tensor in tensors.items():
        if name not in known and tensor.is_floating_point() and tensor.dim() > 1 and tensor.numel() >= _TIED:
            ends = tuple(tensor.reshape(-1)[:: max(1, tensor.numel() // 16)][:17].double().tolist())
            if len(set(ends)) > 1:
                alike.setdefault((tuple(tensor.shape), tensor.dtype, ends), []).append(name)
    for names in alike.values():
        equal = tuple(name for name in names if torch.equal(tensors[names[0]], tensors[name]))
        groups += [equal] if len(equal) > 1 else []
    return tuple(groups)


def _renamed(step: Operation, names: dict[str, str]) -> Operation:
    return step.replace(inputs=tuple(names.get(name, name) for name in step.inputs))


def _notes(network: StoredNetwork) -> list[str]:
    """Say in words what a reader should know about the numbers of one network."""
    where = f" of {network.name}" if network.name else ""
    notes = [f"Tied tensors{where}: {_joined(group)}." for group in network.ties[:10]]
    if network.lossy:
        worst, error = max(network.lossy.items(), key=lambda item: item[1])
        kinds = sorted({network.origins[name].dtype for name in network.lossy})
        what = f"{len(network.lossy)} tensors{where} ({', '.join(kinds)}) are not exact in float32"
        notes.append(f"{what}: largest error {error:.3g}, in '{worst}'.")
    return notes


def _joined(group: tuple[str, ...]) -> str:
    return " = ".join(group[:4]) + (f" and {len(group) - 4} more" if len(group) > 4 else "")


def _nothing(path: Path, content: Content, skipped: dict[str, str]) -> FileError:
    """Say what a file holds instead of a network."""
    reasons = set(skipped.values())
    if any(reason == "optimizer state" for reason in reasons) and not reasons - {"optimizer state"} - {
        reason for reason in reasons if reason.startswith("not a tensor")
    }:
        what = f"{path} holds no named tensors but the state of an optimizer."
        return FileError(what, todo="Pass the checkpoint of the network that was saved beside it.")
    shown = [f"{key}: {reason}" for key, reason in list(skipped.items())[:6]]
    todo = "Pass the file with the weights, such as one of torch.save(network.state_dict(), file)."
    if isinstance(content.tree, Opaque):
        return FileError(f"{path} holds no network but one object of {content.tree.kind}.", todo=todo)
    bare = isinstance(content.tree, Leaf)
    kind = f"a bare {content.tree.dtype} tensor" if bare else kind_of_value(content.tree)
    return FileError(
        f"{path} holds no named tensors.",
        where=f"Found: {'; '.join(shown) if shown else kind}."[:500],
        todo=todo,
    )
