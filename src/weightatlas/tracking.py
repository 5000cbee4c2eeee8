"""Metrics over time: a JSON line each, always; TensorBoard and Weights & Biases if asked for."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from weightatlas.atomic import cannot_write, write_text
from weightatlas.errors import ConfigError, FileError
from weightatlas.registry import Registry

Sink = Callable[[int, Mapping[str, float]], None]
sinks: "Registry[Sink]" = Registry("metrics sink")


class Tracker:
    """Writes metrics to `metrics.jsonl` and keeps them in memory.

    Example:
        >>> tracker = Tracker(None)
        >>> tracker.log(1, {"loss": 0.5})
        >>> tracker.history
        [{'step': 1, 'loss': 0.5}]

    Args:
        folder: Folder of the run, or none to keep metrics in memory only.
        upto: Forget lines of later steps: a resumed run writes them again.
        also: Further sinks by name ("tensorboard", "wandb").

    Raises:
        ConfigError: A sink is unknown or its package is not installed.
    """

    def __init__(self, folder: Path | None, upto: int | None = None, also: tuple[str, ...] = ()) -> None:
        self.path = None if folder is None else Path(folder) / "metrics.jsonl"
        self.history: list[dict[str, Any]] = []
        if self.path is not None and self.path.exists() and upto is not None:
            self.history = [line for line in read_metrics(self.path) if line["step"] <= upto]
        if self.path is not None:
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.history))
        self._sinks = [sinks.create(name, folder=folder or Path("metrics")) for name in also]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one line."""
        line = {"step": step, **values}
        self.history.append(line)
        for sink in self._sinks:
            sink(step, values)
        if self.path is None:
            return
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read a metrics file; a last line cut short by a crash is left out.

    Raises:
        FileError: The file is missing, or a line other than the last is not JSON.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.") from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise FileError(f"Line {number} of {path} is not JSON.") from None
    return found


@sinks.register("tensorboard")
def _tensorboard(folder: Path) -> Sink:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "TensorBoard is not installed.", todo="pip install weightatlas[tensorboard]"
        ) from error
    writer = SummaryWriter(str(folder / "tensorboard"))

    def write(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return write


@sinks.register("wandb")
def _wandb(folder: Path) -> Sink:
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError("wandb is not installed.", todo="pip install weightatlas[wandb]") from error
    run = wandb.init(project="weightatlas", dir=str(folder))

    def write(step: int, values: Mapping[str, float]) -> None:
        run.log(dict(values), step=step)

    return write
