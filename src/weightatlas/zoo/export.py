"""Zoo -> state dict files under their original names."""

from pathlib import Path
from typing import Protocol

from safetensors.torch import save

from weightatlas.atomic import write_bytes, write_text
from weightatlas.errors import ZooError
from weightatlas.weights.batch import Weights
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import Signature, to_state_dict
from weightatlas.zoo.header import has_header
from weightatlas.zoo.table import Table


class Exportable(Protocol):
    """What of a zoo is needed here."""

    table: Table

    @property
    def specs(self) -> tuple[NetworkSpec, ...]: ...

    def weights(self, spec: NetworkSpec | None = None) -> Weights: ...

    def signature(self, row: int) -> Signature | None: ...


def export(zoo: Exportable, folder: Path) -> list[Path]:
    """Write every network as `<id>.safetensors`, and all columns as networks.csv.

    Args:
        zoo: A zoo or a view.
        folder: Where to write.

    Returns:
        The state dict files, in the order of the view.

    Raises:
        FileError: The folder cannot be written to.
        ZooError: The folder is a zoo.
    """
    if has_header(folder):
        raise ZooError(f"{folder} is a zoo, not a folder for plain checkpoints.", todo="Choose another.")
    names = zoo.table.column("id").tolist()
    paths = [folder / f"{name}.safetensors" for name in names]
    for spec in zoo.specs:
        weights = zoo.weights(spec)
        for vector, row in zip(weights.values, weights.rows.tolist(), strict=True):
            state = to_state_dict(vector, weights.spec, zoo.signature(row))
            write_bytes(paths[row], save({name: value.clone() for name, value in state.items()}))
    table = zoo.table.with_column("file", [path.name for path in paths])
    write_text(folder / "networks.csv", table.to_csv())
    return paths
