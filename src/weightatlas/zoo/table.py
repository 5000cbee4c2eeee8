"""Columns of networks: the only file that knows polars."""

import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from weightatlas.errors import FileError, ZooError

_MARK = "weightatlas-sha256:"
_SEAL = re.compile(re.escape(_MARK.encode()) + rb"([0-9a-f]{64})")


class Table:
    """Rows of networks with named columns.

    Example:
        >>> table = Table.of({"id": ["a", "b"], "test_acc": [0.5, 0.9]})
        >>> table.column("test_acc")
        array([0.5, 0.9])

    Args:
        frame: The polars frame behind it.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> "Table":
        """Make a table from columns of equal length."""
        return cls(pl.DataFrame([_series(name, values) for name, values in columns.items()]))

    @classmethod
    def concat(cls, tables: Iterable["Table"]) -> "Table":
        """Stack tables; columns that one of them lacks become empty there.

        A column without any value in one table does not turn the numbers of another into text.
        """
        frames = [
            table.frame.with_columns(
                column.cast(pl.Null) for column in table.frame if column.null_count() == len(column)
            )
            for table in tables
        ]
        joined = pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()
        return cls(joined.with_columns(_series(column.name, column) for column in joined))

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "Table":
        """Read a table after checking that not one byte has changed since it was written.

        Args:
            data: What `to_bytes` returned.
            where: The file, for the message.

        Raises:
            FileError: A byte differs, or the data are truncated.
        """
        found = _SEAL.findall(data)
        blank = _SEAL.sub(_MARK.encode() + b"0" * 64, data)
        if len(found) != 1 or hashlib.sha256(blank).hexdigest().encode() != found[0]:
            raise FileError(f"{where} is damaged or truncated.", todo=repair_hint(where))
        return cls(pl.read_parquet(io.BytesIO(data)))

    @classmethod
    def from_csv(cls, data: bytes, where: str) -> "Table":
        """Read comma-separated text with a header.

        Args:
            data: The text.
            where: The file, for the message.

        Raises:
            FileError: It is no such text, or empty.
        """
        try:
            return cls(pl.read_csv(data, infer_schema_length=None))
        except pl.exceptions.PolarsError as error:
            raise FileError(f"{where} is no table.", where=str(error).splitlines()[0][:200]) from None

    def to_bytes(self) -> bytes:
        """Write parquet that carries the hash of all its other bytes."""
        buffer = io.BytesIO()
        self.frame.write_parquet(buffer, metadata={"seal": _MARK + "0" * 64})
        data = buffer.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        return _SEAL.sub((_MARK + digest).encode(), data)

    @property
    def names(self) -> list[str]:
        """Column names."""
        return self.frame.columns

    def __len__(self) -> int:
        return self.frame.height

    def column(self, name: str) -> np.ndarray:
        """Return a column; missing numbers are NaN, missing texts None.

        Raises:
            ZooError: There is no such column.
        """
        if name not in self.frame.columns:
            known = ", ".join(self.names) or "none"
            raise ZooError(f"There is no column '{name}'.", todo=f"Columns: {known}.")
        return _series(name, self.frame[name]).to_numpy()

    def cell(self, name: str, row: int) -> Any:
        """Return one value of a column; none if it, or the column, is missing."""
        return self.frame[name][row] if name in self.frame.columns else None

    def take(self, rows: np.ndarray) -> "Table":
        """Keep rows by position or by a boolean mask."""
        index = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Table(self.frame[index.astype(np.int64)])

    def with_column(self, name: str, values: Sequence[Any] | np.ndarray) -> "Table":
        """Add or replace a column."""
        return Table(self.frame.with_columns(_series(name, values)))

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary per row."""
        return self.frame.to_dicts()

    def to_csv(self) -> str:
        """Write comma-separated text."""
        return self.frame.write_csv()


def _series(name: str, values: Sequence[Any] | np.ndarray | pl.Series) -> pl.Series:
    """Make a column; one without any value counts as text, so that shards can be stacked."""
    series = pl.Series(name, values)
    return series.cast(pl.String) if series.dtype == pl.Null else series


def repair_hint(where: str) -> str:
    """Say what to do about a damaged file of a zoo."""
    if where.endswith("networks.parquet"):
        return "It is only an index: rebuild it with `weightatlas zoo verify --rebuild`."
    return "Restore it from a copy; or delete both files of the shard and populate or import again."
