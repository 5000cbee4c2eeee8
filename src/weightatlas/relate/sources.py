"""Networks to compare, from files and zoos."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError, FileError, SpecError, ZooError
from weightatlas.networks import create_network, input_shape_of
from weightatlas.population.forward import Population
from weightatlas.symmetry.verify import spec_of
from weightatlas.tasks import Task, create_task
from weightatlas.weights.files import read_checkpoint
from weightatlas.weights.infer import infer
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import flatten
from weightatlas.zoo.zoo import Zoo

_FORMS = "Write FILE, FILE:NAME if it holds several networks, ZOO:ID, or ZOO:ROW."


@dataclass(frozen=True)
class Known:
    """One network to compare.

    Args:
        name: How the user called it.
        vector: Its numbers.
        spec: Its layout; without a graph if it comes from a file alone.
        population: Makes networks of this layout executable; none if no code is known.
        task: Makes the task by its name, or the one it was trained on.
    """

    name: str
    vector: Float[Tensor, " params"]
    spec: NetworkSpec
    population: Callable[[], Population] | None = None
    task: Callable[[str | None], Task | None] | None = None


def open_network(source: str, network: str | None = None, **options: object) -> Known:
    """Read a network from a file (FILE:NAME if it holds several), or from a zoo (ZOO:ID or ZOO:ROW).

    The layout of a file is inferred from names and shapes; batch norms can only be undone if the
    architecture is named.

    Args:
        source: Path of a file, with a colon and a name if it holds several networks; or folder of a zoo, a
            colon, and id or number of a row.
        network: Name of the file's architecture.
        options: Its options.

    Raises:
        FileError: The file cannot be read, or holds several networks or none of this name.
        ZooError: There is no such row, or a zoo is named without one.
        SpecError: The file does not fit the named architecture.
        DataError: The network is not finite.
    """
    found = _opened(source, network, options)
    if not bool(torch.isfinite(found.vector).all()):
        raise DataError(f"{source} holds NaN or infinite values.", todo="weightatlas inspect says where.")
    return found


def _opened(source: str, network: str | None, options: Mapping[str, object]) -> Known:
    """Read a network, whatever its values."""
    folder, colon, row = source.rpartition(":")
    if colon and (Path(folder) / "zoo.json").exists():
        return _row(folder, row, source)
    if (Path(source) / "zoo.json").exists():
        raise ZooError(f"{source} is a zoo, not one network.", todo=f"Name one: {source}:ID or {source}:ROW.")
    several = colon and not Path(source).exists()
    if several and not (folder and Path(folder).is_file()):
        also = f", and {folder} is no zoo or file" if folder else ""
        raise FileError(f"There is no file {source}{also}.", todo=_FORMS)
    stored = read_checkpoint(folder).named(row) if several else read_checkpoint(source).network
    state = {name: tensor for name, tensor in stored.tensors.items() if tensor.is_floating_point()}
    if not state:
        raise SpecError(f"{source} holds no floating tensors.")
    if network is None:
        spec = infer(state, graph=stored.graph, channels_last=stored.channels_last).spec
        return Known(source, flatten([state], spec)[0], spec, task=_task)
    module = create_network(network, **options)
    spec = spec_of(module, input_shape_of(network, **options))
    vector = flatten([state], spec)[0]
    return Known(source, vector, spec, lambda: Population(module, spec), _task)


def _task(name: str | None) -> Task | None:
    """Make a task by its name."""
    return None if name is None else create_task(name)


def _row(folder: str, row: str, source: str) -> Known:
    """Read one row of a zoo."""
    zoo = Zoo.open(folder)
    one = zoo[_place(zoo, folder, row)]
    vector, spec = one.weights().values[0], one.spec
    return Known(
        source, vector, spec, one.population, lambda name: one.task() if name is None else create_task(name)
    )


def _place(zoo: Zoo, folder: str, row: str) -> int:
    """Position of the network that an id or a number names."""
    ids, count = zoo.column("id").tolist(), len(zoo)
    if row in ids:
        return ids.index(row)
    if re.fullmatch(r"-?[0-9]{1,18}", row) and -count <= int(row) < count:
        return int(row) % count
    if zoo.diverged and row in Zoo.open(folder, diverged=True).column("id").tolist():
        raise DataError(
            f"{folder}:{row} holds NaN or infinite values.", todo="Compare another network of the zoo."
        )
    some = ", ".join(ids[:2]) + (", …" if count > 2 else "")
    numbers = f"a number from 0 to {count - 1}, or from -{count} to -1 counted from the end"
    raise ZooError(
        f"The zoo {folder} has no network '{row}'.",
        todo=f"Write {folder}:ID, with one of its ids ({some}), or {folder}:ROW, with {numbers}.",
    )


@dataclass(frozen=True)
class Stack:
    """Networks of one layout.

    Args:
        values: Networks as rows.
        spec: Their layout.
        names: Their ids.
    """

    values: Float[Tensor, "networks params"]
    spec: NetworkSpec
    names: tuple[str, ...]


def stacks_of(zoo: Zoo) -> list[Stack]:
    """Read all networks of a zoo, layout by layout, in the order of its rows.

    Args:
        zoo: The zoo or a view of it.
    """
    ids = zoo.column("id")
    found = []
    for spec in zoo.specs:
        own = zoo.weights(spec)
        order = torch.argsort(own.rows)
        found.append(Stack(own.values[order], spec, tuple(ids[own.rows[order].numpy()].tolist())))
    return found
