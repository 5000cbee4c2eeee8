"""What a report is made of: plain arrays and records, every part optional, saved beside the run."""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field

from weightatlas.atomic import replacing, write_text
from weightatlas.config import Config, read_yaml
from weightatlas.errors import FileError, RunError
from weightatlas.results import Kind, Record, load_records

_JSON, _ARRAYS = "report.json", "report.safetensors"
_COUNTS = ("pass", "epoch", "seconds", "time", "lr", "grad_norm", "skipped", "dropped")  # no terms of a loss


def _as_array(value: Any) -> np.ndarray:
    """Accept lists, numpy arrays and tensors alike."""
    value = value.detach().cpu().numpy() if hasattr(value, "detach") else value
    return np.asarray(value, dtype=np.float32)


Array = Annotated[np.ndarray, BeforeValidator(_as_array)]


class _Part(Config):
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=True
    )


class Headline(_Part):
    """One number in large type beside its trivial baseline.

    Args:
        label: What was measured, in a few words.
        value: Our number.
        baseline: Name of the baseline.
        baseline_value: Its number, measured on the same networks.
        note: One short sentence for readers who do not know the measure.
    """

    label: str
    value: float
    baseline: str = ""
    baseline_value: float | None = None
    note: str = ""


class Scatter(_Part):
    """Predicted against true values of one property by one method.

    Args:
        label: The property ("test accuracy").
        method: Who predicts.
        true: Measured values, shape `(networks,)`.
        predicted: Predictions, same shape.
        kind: Our method or a baseline.
    """

    label: str
    method: str
    true: Array
    predicted: Array
    kind: Kind = "ours"


class LatentMap(_Part):
    """Embeddings of networks, to be shown in the plane.

    Args:
        embeddings: One row per network, shape `(networks, dim)`.
        values: What colors the points, shape `(networks,)`.
        label: Name of the values.
        generated: Embeddings of generated networks, shape `(others, dim)`, drawn as rings.
    """

    embeddings: Array
    values: Array
    label: str = "test accuracy"
    generated: Array | None = None


class Curves(_Part):
    """Lines over training steps.

    Args:
        title: What is drawn.
        x: Steps, shape `(points,)`.
        lines: Name -> values, each of shape `(points,)`; NaN where there is none.
        x_label: Name of the steps.
        log: Logarithmic vertical axis.
    """

    title: str
    x: Array
    lines: dict[str, Array]
    x_label: str = "step"
    log: bool = False


class SizeCurve(_Part):
    """How well networks survive at different sizes.

    Args:
        method: Whose size and quality.
        bits: Bits per parameter, shape `(points,)`.
        excess: Excess agreement, shape `(points,)`.
        kind: Our method or a baseline.
    """

    method: str
    bits: Array
    excess: Array
    kind: Kind = "ours"


class Generated(_Part):
    """New networks of one method.

    Args:
        method: How they were made.
        accuracy: Test accuracy, shape `(networks,)`.
        distance: Distance to the nearest training network, same shape.
        kind: Our method or a baseline.
    """

    method: str
    accuracy: Array
    distance: Array
    kind: Kind = "ours"


class ReportData(_Part):
    """Everything a report can show; what is left out is not shown.

    Args:
        title: Headline of the page.
        summary: One or two sentences on what was done.
        facts: Short label -> short value, shown under the title.
        headlines: The few numbers that matter most.
        records: Measured numbers; one table per bench, baselines included.
        accuracies: Name ("original", "rebuilt", "refined", "generated") -> accuracies.
        predictions: Predicted against true.
        latent: Map of the embeddings.
        curves: Training curves.
        agreement: Name -> agreement of each network with its original.
        a0: Agreement that the best stranger reaches, drawn as a line.
        sizes: Excess agreement against bits per parameter.
        generated: New networks, by method.
        config: The resolved settings.
        versions: Package name -> version.
        hardware: Processor and cores.
        command: How to get the run again.
        seconds: Wall time of the run.
    """

    title: str = "Report"
    summary: str = ""
    facts: dict[str, str] = Field(default_factory=dict)
    headlines: tuple[Headline, ...] = ()
    records: tuple[Record, ...] = ()
    accuracies: dict[str, Array] = Field(default_factory=dict)
    predictions: tuple[Scatter, ...] = ()
    latent: LatentMap | None = None
    curves: tuple[Curves, ...] = ()
    agreement: dict[str, Array] = Field(default_factory=dict)
    a0: float | None = None
    sizes: tuple[SizeCurve, ...] = ()
    generated: tuple[Generated, ...] = ()
    config: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: str = ""
    command: str = ""
    seconds: float | None = None


def save_data(folder: str | Path, data: ReportData) -> None:
    """Keep what a report is made of, so that `weightatlas report` can draw it again.

    Args:
        folder: The run; gets report.json and report.safetensors.
        data: What to keep.
    """
    from safetensors.numpy import save_file

    arrays: dict[str, np.ndarray] = {}
    values = _pack(data.model_dump(), arrays)
    with replacing(Path(folder) / _ARRAYS) as temporary:
        save_file(arrays or {"0": np.zeros(0, np.float32)}, temporary)
    write_text(Path(folder) / _JSON, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def load_data(folder: str | Path) -> ReportData:
    """Read what `save_data` kept.

    Raises:
        FileError: A file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    try:
        values = json.loads((folder / _JSON).read_text(encoding="utf-8"))
        arrays = load_file(folder / _ARRAYS)
        return ReportData.build(_unpack(values, arrays), where=f"In {folder / _JSON}.")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        todo = "Run the command that made the run again."
        raise FileError(f"The report data of {folder} cannot be read: {error}", todo=todo) from None


def of_run(folder: str | Path) -> ReportData:
    """Collect what a run folder can tell: kept report data, else its settings, metrics and results.

    Raises:
        RunError: The folder holds none of them.
    """
    folder = Path(folder)
    if (folder / _JSON).exists():
        return load_data(folder)
    metrics, settings = folder / "metrics.jsonl", folder / "config.yaml"
    records = load_records(folder / "results.json")
    if not (metrics.exists() or settings.exists() or records):
        raise RunError(
            f"{folder} is not a run.",
            where="It has no report.json, results.json, metrics.jsonl or config.yaml.",
            todo="Name the folder that quickstart, fit or bench wrote (--out).",
        )
    return ReportData(
        title=folder.resolve().name,
        records=tuple(records),
        curves=_curves(metrics) if metrics.exists() else (),
        config=read_yaml(settings) if settings.exists() else {},
        versions=records[-1].versions if records else {},
        hardware=records[-1].hardware if records else "",
    )


def _curves(path: Path) -> tuple[Curves, ...]:
    """Read one panel of loss terms from a run's metrics."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:  # The last line of an interrupted run.
            continue
    rows = [row for row in rows if "step" in row]
    names = sorted({k for row in rows for k, v in row.items() if isinstance(v, int | float)} - {"step"})
    names = [name for name in names if name.removeprefix("val/") not in _COUNTS]
    if not rows or not names:
        return ()
    lines = {name: [row.get(name, np.nan) for row in rows] for name in names}
    return (Curves(title="Training", x=[row["step"] for row in rows], lines=lines),)  # pyright: ignore[reportArgumentType]


def _pack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Move arrays out of nested values, leaving their number behind."""
    if isinstance(value, np.ndarray):
        arrays[str(len(arrays))] = np.ascontiguousarray(value)
        return {"array": str(len(arrays) - 1)}
    if isinstance(value, dict):
        return {str(key): _pack(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(item, arrays) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _unpack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Put arrays back."""
    if isinstance(value, dict):
        if set(value) == {"array"}:
            return arrays[value["array"]]
        return {key: _unpack(item, arrays) for key, item in value.items()}
    return [_unpack(item, arrays) for item in value] if isinstance(value, list) else value
