"""What importers of published zoos have in common: blocks of networks, a report, one registry."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import ConfigError
from weightatlas.networks import create_network, input_shape_of
from weightatlas.registry import Registry
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.infer import infer
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import Signature, signature_of
from weightatlas.zoo.header import NetworkRecord
from weightatlas.zoo.lineage import digest


@dataclass(frozen=True, eq=False)
class Architecture:
    """What published networks compute.

    Args:
        spec: Their layout; with a function if the library has their code.
        record: How to build them, or none.
    """

    spec: NetworkSpec
    record: NetworkRecord | None = None

    @property
    def key(self) -> str:
        return self.spec.function_id or self.spec.layout_id


@dataclass(frozen=True, eq=False)
class Block:
    """Some networks of one architecture.

    Args:
        architecture: What they compute.
        signature: Names and number types they had in the file.
        values: Networks as rows, in the order of the spec.
        columns: Column -> one value per network. `id`, `network`, `lineage` and `source` must be there.
    """

    architecture: Architecture
    signature: Signature
    values: Float[Tensor, "networks params"]
    columns: Mapping[str, list[Any]]

    @property
    def signature_id(self) -> str:
        return digest(self.signature.model_dump_json())

    def take(self, rows: Sequence[int]) -> "Block":
        """Keep some of the networks."""
        columns = {name: [column[row] for row in rows] for name, column in self.columns.items()}
        return Block(self.architecture, self.signature, self.values[list(rows)], columns)


@dataclass
class Report:
    """What an importer found, beside the networks it yields.

    Args:
        found: Networks there are, each checkpoint counted.
        skipped: Place -> why no network came of it.
        notes: Whole sentences about what is not as a reader may expect.
        facts: What the zoo remembers about its source, plain JSON values.
    """

    found: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def skip(self, place: str, reason: str) -> None:
        """Count a network that cannot be read."""
        self.found += 1
        self.skipped[place] = reason


class Importer(ABC):
    """Reads one published format. An instance serves one import."""

    name: ClassVar[str]
    title: ClassVar[str]
    loses: ClassVar[str]

    @abstractmethod
    def recognizes(self, folder: Path) -> bool:
        """Tell from names of files alone whether a folder has this format."""

    @abstractmethod
    def read(self, folder: Path, report: Report) -> Iterator[Block]:
        """Yield the networks and count them in the report.

        Raises:
            DataError: Files contradict each other.
            FileError: A file that all networks need is missing or damaged.
        """


importers: Registry[Importer] = Registry("format")


def detect(folder: Path) -> Importer | None:
    """Find the importer that knows a folder, or none.

    Raises:
        ConfigError: Several know it.
    """
    known = [one for one in (importers.create(name) for name in importers.names()) if one.recognizes(folder)]
    if len(known) > 1:
        names = ", ".join(one.name for one in known)
        raise ConfigError(f"{folder} looks like {names} at once.", todo="Say which: --format NAME.")
    return known[0] if known else None


def known_architecture(name: str, **options: Any) -> Architecture:
    """Trace a network of the registry.

    Example:
        >>> known_architecture("cnn_small").spec.params
        2464

    Args:
        name: See `create_network`.
        options: Its options.
    """
    return _traced(NetworkRecord(name=name, options=options).model_dump_json())


@lru_cache(maxsize=256)
def _traced(text: str) -> Architecture:
    record = NetworkRecord.model_validate_json(text)
    shape = input_shape_of(record.name, **record.options)
    return Architecture(spec_of(create_network(record.name, **record.options), shape), record)


def bare_architecture(state: Mapping[str, Tensor]) -> Architecture:
    """Infer a layout from names and shapes, for networks whose code is not in the library."""
    floating = {name: tuple(tensor.shape) for name, tensor in state.items() if tensor.is_floating_point()}
    return _inferred(tuple(floating.items()))


@lru_cache(maxsize=256)
def _inferred(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> Architecture:
    return Architecture(infer(dict(shapes)).spec)


def fits(state: Mapping[str, Tensor], architecture: Architecture) -> bool:
    """Tell whether tensors have, in their order, the shapes of an architecture."""
    shapes = [tuple(tensor.shape) for tensor in state.values() if tensor.is_floating_point()]
    return shapes == [tensor.shape for tensor in architecture.spec.tensors]


def block_of(state: Mapping[str, Tensor], architecture: Architecture, columns: Mapping[str, Any]) -> Block:
    """Make a block of one network.

    Args:
        state: Its tensors, with names of their own but in the order of the architecture, or with its names.
        architecture: What it computes.
        columns: Column -> value.
    """
    spec = architecture.spec
    wanted = [tensor.name for tensor in spec.tensors]
    floating = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    known = set(wanted) <= set(floating)
    own = wanted if known else list(floating)
    renamed = dict(state) if known else {new: floating[old] for new, old in zip(wanted, own, strict=True)}
    signature = signature_of(renamed, spec)
    if not known:
        signature = signature.replace(names=tuple(own), order=tuple(own))
    # What differs between checkpoints stands in their rows, as in `import_folder`.
    counters = json.dumps(signature.counters) if signature.counters else None
    signature = signature.with_counters(())
    values = torch.cat([renamed[name].detach().reshape(-1).float() for name in wanted])[None]
    own_columns = {**columns, "counters": counters}
    return Block(architecture, signature, values, {name: [value] for name, value in own_columns.items()})


def hyper_columns(settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Bring published settings to `hp.*`: those with a usual name under it, the others under their own.

    Example:
        >>> hyper_columns({"optim::lr": 0.1, "model::nlin": "tanh"}, {"optim::lr": "lr"})
        {'hp.lr': 0.1, 'hp.model_nlin': 'tanh'}
    """
    plain = {key: value for key, value in settings.items() if isinstance(value, str | int | float | list)}
    own = {key: names.get(key) or key.replace("::", "_").replace(".", "_") for key in plain}
    return {f"hp.{own[key]}": value for key, value in plain.items()}
