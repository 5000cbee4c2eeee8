"""networks.parquet: an index over the sidecars, rebuilt whenever it lags behind."""

import logging
from pathlib import Path

from weightatlas.atomic import write_bytes
from weightatlas.errors import FileError
from weightatlas.zoo.store import read_sidecar, shard_keys
from weightatlas.zoo.table import Table

log = logging.getLogger("weightatlas")

_NAME = "networks.parquet"


def load_index(folder: Path) -> Table:
    """Read the rows of all shards, from the index if it is whole and up to date.

    Raises:
        FileError: The index is not usable and a sidecar is damaged.
    """
    keys = shard_keys(folder)
    try:
        table = Table.from_bytes((folder / _NAME).read_bytes(), str(folder / _NAME))
        if set(table.column("shard").tolist()) == set(keys):
            return table
    except FileNotFoundError:
        pass
    except FileError as error:
        log.warning("%s It is rebuilt from the sidecars.", error.what)
    return rebuild_index(folder)


def rebuild_index(folder: Path) -> Table:
    """Read all sidecars and write the index anew, if the folder can be written to.

    Raises:
        FileError: A sidecar is damaged.
    """
    table = Table.concat(read_sidecar(folder, key) for key in shard_keys(folder))
    if len(table) == 0:
        return table
    try:
        write_bytes(folder / _NAME, table.to_bytes())
    except FileError as error:
        log.warning("The index of %s is kept in memory only. %s", folder, error.what)
    return table
