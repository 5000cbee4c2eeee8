"""What all views of one zoo share: its folder, its tasks, and the code of its networks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightatlas.errors import DataError, NoCode, ZooError
from weightatlas.networks import create_network
from weightatlas.tasks import Task, create_task
from weightatlas.weights.spec import NetworkSpec
from weightatlas.zoo.header import Header
from weightatlas.zoo.store import read_weights
from weightatlas.zoo.table import Table

Factory = Callable[[], nn.Module]


@dataclass(frozen=True, eq=False)
class Source:
    """A zoo folder without a selection of rows.

    Args:
        path: The folder.
        header: What zoo.json holds.
        factories: Function id -> the user's own code.
        tasks: Task id -> task, as far as they were needed.
        diverged: Rows whose weights are not finite.
        built: Function id -> module and the spec with the module's own names.
    """

    path: Path
    header: Header
    factories: Mapping[str, Factory]
    tasks: dict[str, Task]
    diverged: int
    built: dict[str, tuple[nn.Module, NetworkSpec]] = field(default_factory=dict)

    def task(self, name: str) -> Task:
        """Create a task and check that its data are those the networks were trained on.

        Raises:
            ZooError: The zoo has no such task.
            DataError: The data are missing or other ones.
        """
        if name not in self.header.tasks:
            raise ZooError(f"The zoo has no task '{name}'.", todo=f"Tasks: {', '.join(self.header.tasks)}.")
        record = self.header.tasks[name]
        if name not in self.tasks:
            # A file that has moved gives its task another name, but not other data.
            moved = next((t for t in self.tasks.values() if t.sha256 == record.sha256), None)
            self.tasks[name] = moved or create_task(record.name, **record.options)
        task = self.tasks[name]
        if task.sha256 != record.sha256:
            raise DataError(
                f"The data of task '{name}' have sha256 {task.sha256[:12]}, the networks were trained on "
                f"{record.sha256[:12]}.",
                todo="Use the original files.",
            )
        return task

    def network(self, spec: NetworkSpec) -> tuple[nn.Module, NetworkSpec]:
        """Build a module and check that it computes the function of a spec.

        Returns:
            The module, and the spec with the module's own tensor names.

        Raises:
            NoCode: No code is known, or it computes another function.
        """
        key = spec.function_id
        if key is None:
            raise NoCode(
                f"{spec!r} was inferred from bare weights; how to run it is unknown.",
                todo="Import the files again with their network: import_folder(source, out, MyNetwork, "
                "input_shape=...), or weightatlas zoo import --network NAME.",
            )
        if key not in self.built:
            self.built[key] = self._build(key, spec)
        return self.built[key]

    def read(self, rows: Table, params: int) -> Float[Tensor, "rows params"]:
        """Read the weights of some rows, which all have the same number of parameters.

        Raises:
            FileError: A shard is missing or damaged.
        """
        shards: np.ndarray = rows.column("shard")
        places: Int[np.ndarray, " rows"] = rows.column("row").astype(np.int64)
        sizes = rows.column("shard_bytes")
        values = torch.empty(len(rows), params)
        groups: dict[str, list[int]] = {}
        for row, shard in enumerate(shards.tolist()):
            groups.setdefault(shard, []).append(row)
        for shard, own in groups.items():
            values[own] = read_weights(self.path, shard, int(sizes[own[0]]), torch.from_numpy(places[own]))
        return values

    def _build(self, key: str, spec: NetworkSpec) -> tuple[nn.Module, NetworkSpec]:
        from weightatlas.symmetry.verify import spec_of

        record = self.header.networks.get(key)
        if key in self.factories:
            network = self.factories[key]()
        elif record is not None:
            network = create_network(record.name, **record.options)
        else:
            raise NoCode(
                f"No code is known for function {key}.",
                todo=f"Pass your own: Zoo.open(path, networks={{'{key}': make_network}}).",
            )
        found = spec_of(network, spec.input_shape or ())
        if found.function_id != key:
            raise NoCode(
                f"The network built for function {key} computes function {found.function_id}.",
                todo="Pass the original code, or the version of weightatlas the zoo was made with.",
            )
        return network, found
