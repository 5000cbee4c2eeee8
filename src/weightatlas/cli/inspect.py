"""weightatlas inspect."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightatlas.cli import console

if TYPE_CHECKING:
    from torch import Tensor


def inspect(files: Annotated[tuple[Path, ...], tyro.conf.Positional], json: bool = False) -> int:
    """Say what is in checkpoints: tensors, parameters, and values that are NaN or infinite.

    Code in a file is never executed. The exit code is 1 if a value is not finite.

    Example:
        weightatlas inspect checkpoints/*.safetensors

    Args:
        files: Checkpoint files (.safetensors, or written by torch.save).
        json: Print as JSON.
    """
    from weightatlas.weights.files import read_checkpoint

    reports = []
    for path in files:
        checkpoint = read_checkpoint(path)
        network, report = checkpoint.network, checkpoint.report
        tensors = network.tensors
        rows = [_row(name, tensor) for name, tensor in tensors.items()]
        facts: dict[str, Any] = {
            "file": str(path),
            "format": report.format,
            "tensors": len(rows),
            "parameters": sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point()),
            "not finite": sum(row["not finite"] for row in rows),
            "opened": list(network.opened),
            "renamed": len(network.renamed),
            "skipped": list(report.skipped),
        }
        reports.append({**facts, "rows": rows})
        if not json:
            console.print_facts(
                {name: value for name, value in facts.items() if value or name == "not finite"}
            )
            console.print_rows(rows)
    if json:
        console.print_json(reports)
    return int(any(report["not finite"] for report in reports))


def _row(name: str, tensor: "Tensor") -> dict[str, Any]:
    """Describe one tensor; statistics are over its finite values."""
    import torch

    shape = " × ".join(map(str, tensor.shape)) or "scalar"
    row: dict[str, Any] = {"name": name, "shape": shape, "dtype": str(tensor.dtype).removeprefix("torch.")}
    finite = (
        torch.isfinite(tensor) if tensor.is_floating_point() else torch.ones_like(tensor, dtype=torch.bool)
    )
    values = tensor[finite].double()
    if not tensor.is_floating_point() or not len(values):
        return row | dict.fromkeys(("mean", "std", "min", "max")) | {"not finite": int((~finite).sum())}
    return row | {
        "mean": float(values.mean()),
        "std": float(values.std(correction=0)),
        "min": float(values.min()),
        "max": float(values.max()),
        "not finite": int((~finite).sum()),
    }
