"""Files that hold a whole collection: one matrix of weights, and a table with a row per network."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from weightatlas.errors import FileError
from weightatlas.zoo.table import Table


def read_matrix(path: Path) -> np.ndarray:
    """Map the weights into memory without reading them.

    Raises:
        FileError: It is missing, truncated, or no matrix of float numbers.
    """
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileError(f"There is no file {path}.", todo="Check the path.") from None
    except (OSError, ValueError, EOFError) as error:
        todo = "Copy or download it again."
        raise FileError(
            f"{path} is truncated or no array of numbers.", where=str(error)[:200], todo=todo
        ) from None
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or not len(matrix):
        raise FileError(f"{path} holds {matrix.dtype} {matrix.shape}, expected float (networks, parameters).")
    return matrix


def read_csv(path: Path) -> Table:
    """Read a table with a header, plain or gzipped.

    Raises:
        FileError: It is missing or damaged.
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except FileNotFoundError:
        raise FileError(f"There is no file {path}.", todo="Check the path.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path} cannot be unpacked.", where=str(error), todo="Download it again.") from None
    return Table.from_csv(data, str(path))
