"""Zoo: open, filter, split, and read populations of trained networks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from weightatlas.errors import ZooError
from weightatlas.population.forward import Population
from weightatlas.tasks import Task
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import Signature
from weightatlas.zoo.header import Header, read_header, task_id
from weightatlas.zoo.index import load_index
from weightatlas.zoo.labels import as_label
from weightatlas.zoo.lineage import PARTS, check_lineages, split_of
from weightatlas.zoo.source import Factory, Source
from weightatlas.zoo.table import Table

if TYPE_CHECKING:
    from weightatlas.zoo.verify import Verification

By = Literal["lineage", "network", "official"]


class Zoo:
    """Networks on disk, or a view of some of them.

    A view is cheap: numbers are read when `weights` or `batch` asks for them.

    Example:
        >>> zoo = Zoo.open("runs/digits")                    # doctest: +SKIP
        >>> train, test = zoo.split("train"), zoo.split("test")  # doctest: +SKIP
        >>> train.column("test_acc").mean()                  # doctest: +SKIP
    """

    def __init__(self, source: Source, table: Table, split_by: By | None = None) -> None:
        self._source, self.table = source, table
        self.split_by: By | None = split_by

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        networks: Mapping[str, Factory] | None = None,
        tasks: Sequence[Task] = (),
        diverged: bool = False,
    ) -> Self:
        """Open a zoo folder.

        Args:
            path: The folder.
            networks: Function id -> your own code for networks the registry does not know.
            tasks: Tasks that cannot be created again by name, for example because their file has moved.
            diverged: Also show networks with NaN or infinite weights.

        Raises:
            FileError: The folder is not a zoo, or is damaged.
            ZooError: It holds no networks.
        """
        path = Path(path)
        header = read_header(path)
        table = load_index(path)
        if len(table) == 0:
            raise ZooError(f"The zoo {path} holds no networks yet.", todo="Populate it or import into it.")
        finite = table.column("finite")
        source = Source(
            path, header, dict(networks or {}), {task_id(t): t for t in tasks}, int((~finite).sum())
        )
        return cls(source, table if diverged else table.take(finite))

    @property
    def path(self) -> Path:
        """The folder."""
        return self._source.path

    @property
    def header(self) -> Header:
        """What zoo.json holds."""
        return self._source.header

    @property
    def name(self) -> str:
        """Name of the zoo."""
        return self.header.name

    @property
    def diverged(self) -> int:
        """Rows of the whole zoo whose weights are not finite; views leave them out."""
        return self._source.diverged

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: int | slice | Sequence[int] | np.ndarray | Tensor) -> "Zoo":
        """View some rows by position, slice, list of positions or boolean mask."""
        if isinstance(rows, int | np.integer):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"The zoo has {len(self)} networks, there is no row {rows}.")
            rows = [int(rows)]
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        index = np.asarray(rows)
        if index.dtype == bool and index.shape != (len(self),):
            raise ZooError(f"The mask has shape {index.shape}, the zoo has {len(self)} networks.")
        index = index if index.dtype == bool else np.arange(len(self))[index.astype(np.int64)]
        return self._view(self.table.take(index))

    def column(self, name: str) -> np.ndarray:
        """Return one property of every network; "lr" finds "hp.lr", "epoch" finds "step".

        Raises:
            ZooError: There is no such column.
        """
        return self.table.column(self._resolve(name))

    def filter(self, mask: np.ndarray | Tensor | None = None, /, **conditions: Any) -> "Zoo":
        """View the networks that meet all conditions.

        Example:
            >>> zoo.filter(step=14, optimizer=["adam", "sgd"], test_acc=lambda a: a > 0.9)  # doctest: +SKIP

        Args:
            mask: Boolean mask over the rows.
            conditions: Column -> value, collection of values, or function from the column to a mask.
        """
        keep = np.ones(len(self), bool) if mask is None else np.asarray(mask, dtype=bool)
        for name, wanted in conditions.items():
            keep = keep & _matches(self.column(name), wanted)
        return self[keep]

    def split(self, part: Literal["train", "val", "test"], by: By = "lineage") -> "Zoo":
        """View one part of the zoo; relatives stay on one side unless asked otherwise.

        Args:
            part: "train", "val" or "test".
            by: "lineage" (the default), "network" (relatives on both sides, must be asked for) or
                "official" (as published).

        Raises:
            ZooError: There are fewer than ten lineages, or the part is empty.
        """
        if part not in PARTS:
            raise ZooError(f"There is no part '{part}'.", todo=f"Parts: {', '.join(PARTS)}.")
        if by == "lineage":
            check_lineages(self.table.column("lineage"))
            parts = self.table.column("split")
        elif by == "network":
            parts = np.array(split_of(self.table.column("network").tolist(), self.header.split))
        elif by == "official":
            parts = self.table.column("split_official")
        else:
            raise ZooError(f"A zoo cannot be split by '{by}'.", todo="Use lineage, network or official.")
        found = self.table.take(parts == part)
        if len(found) == 0:
            raise ZooError(
                f"The {part} part of {self.name} split by {by} is empty.",
                todo="Add more networks to the zoo.",
            )
        return Zoo(self._source, found, by)

    @property
    def specs(self) -> tuple[NetworkSpec, ...]:
        """The specs of the networks in this view, in order of appearance."""
        return tuple(self.header.specs[key] for key in dict.fromkeys(self._spec_keys().tolist()))

    @property
    def spec(self) -> NetworkSpec:
        """The one spec all networks share.

        Raises:
            ZooError: There are none or several.
        """
        specs = self.specs
        if len(specs) != 1:
            raise ZooError(f"The view holds networks of {len(specs)} specs.", todo="Name one of zoo.specs.")
        return specs[0]

    def weights(self, spec: NetworkSpec | None = None) -> Weights:
        """Read all networks of one spec.

        Args:
            spec: One of `specs`; may be left out if there is only one.

        Returns:
            Float32 rows and their positions in this view.

        Raises:
            ZooError: No network has this spec.
            FileError: A shard is missing or damaged.
        """
        spec, keys = spec or self.spec, self._spec_keys()
        rows = np.flatnonzero(keys == (spec.function_id or spec.layout_id))
        if len(rows) == 0:
            raise ZooError(f"No network in this view has {spec!r}.", todo="Use one of zoo.specs.")
        stored = self.header.specs[str(keys[rows[0]])]
        values = self._source.read(self.table.take(rows), stored.params)
        return Weights(values, stored, torch.from_numpy(rows))

    def batch(self, labels: Sequence[str] = ()) -> Batch:
        """Read all networks, one group per spec, with some properties as float tensors.

        Args:
            labels: Columns to hand along.

        Raises:
            ZooError: A column is missing or not numeric.
        """
        found = {name: as_label(name, self.column(name)) for name in labels}
        return Batch(tuple(self.weights(spec) for spec in self.specs), found)

    def task(self, name: str | None = None) -> Task:
        """Create the task the networks were trained on, and check that the data are the same.

        Args:
            name: Which, if there are several.

        Raises:
            ZooError: There are none or several tasks.
            DataError: The data are missing or not those the networks were trained on.
        """
        names = [n for n in dict.fromkeys(self.table.column("task").tolist()) if n is not None]
        if name is None and len(names) != 1:
            known = ", ".join(names) or "none"
            raise ZooError(f"The view has {len(names)} tasks.", todo=f"Name one of them: {known}.")
        return self._source.task(name or names[0])

    def network(self, spec: NetworkSpec | None = None) -> nn.Module:
        """Build a module for the networks of one spec and check that it computes the same function.

        Raises:
            NoCode: No code is known, or it computes another function.
        """
        return self._source.network(spec or self.spec)[0]

    def population(self, spec: NetworkSpec | None = None, **options: Any) -> Population:
        """Make the networks of one spec executable.

        Args:
            spec: One of `specs`; may be left out if there is only one.
            options: Passed on to `Population`.

        Raises:
            NoCode: No code is known, or it computes another function.
        """
        network, named = self._source.network(spec or self.spec)
        return Population(network, named, **options)

    def signature(self, row: int) -> Signature | None:
        """Original names and dtypes of one network."""
        found = self.header.signatures.get(self.table.cell("signature", row))
        counters = self.table.cell("counters", row)
        return found.with_counters(json.loads(counters)) if found and counters else found

    def verify(self, sample: int = 16, seed: int = 0) -> "Verification":
        """Check every byte, finiteness, and the stored metrics of a sample."""
        from weightatlas.zoo.verify import verify

        return verify(self, sample, seed)

    def export(self, folder: str | Path) -> list[Path]:
        """Write every network of this view as a state dict under its original names."""
        from weightatlas.zoo.export import export

        return export(self, Path(folder))

    def __repr__(self) -> str:
        networks = len(set(self.table.column("network").tolist()))
        gone = f", {self.diverged} diverged rows left out" if self.diverged else ""
        by = f", split by {self.split_by}" if self.split_by else ""
        return f"Zoo('{self.name}', {len(self)} rows of {networks} networks{by}{gone})"

    def _view(self, table: Table) -> "Zoo":
        return Zoo(self._source, table, self.split_by)

    def _resolve(self, name: str) -> str:
        options = (name, f"hp.{name}", "step" if name == "epoch" else name)
        return next((option for option in options if option in self.table.names), name)

    def _spec_keys(self) -> np.ndarray:
        functions, layouts = self.table.column("function_id"), self.table.column("layout_id")
        return np.where(functions == None, layouts, functions)  # noqa: E711 (elementwise)


def _matches(column: np.ndarray, wanted: Any) -> np.ndarray:
    if callable(wanted):
        return np.asarray(wanted(column), dtype=bool)
    if isinstance(wanted, list | tuple | set | frozenset | range | np.ndarray):
        return np.isin(column, list(wanted))
    return np.asarray(column == wanted, dtype=bool)
