"""The state of a training run on disk: one safetensors file, written whole or not at all."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from weightatlas.atomic import replacing_alone
from weightatlas.errors import RunError

NAME = "state.safetensors"


def save_state(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
    best: dict[str, Tensor] | None = None,
) -> None:
    """Write weights, buffers (loss divisors among them), optimizer moments and progress.

    Random numbers need no saving: all of them are functions of seed and step.

    Args:
        folder: The run.
        module: Encoder and loss.
        optimizer: Its moments are saved by parameter number.
        progress: JSON values: step, seconds, settings, running means.
        best: The module's best state so far, if one is kept.
    """
    tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
    tensors |= {f"best.{name}": value.clone() for name, value in (best or {}).items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing_alone(folder / NAME) as temporary:
        save_file(tensors, temporary, metadata={"progress": json.dumps(progress)})


def read_progress(folder: Path) -> dict[str, Any] | None:
    """Return the progress of a run, or none if there is no state to continue from."""
    if not (folder / NAME).exists():
        return None
    return _read(folder)[0]


def refuse_others(folder: Path, saved: dict[str, Any], identity: dict[str, Any]) -> None:
    """Compare a saved run with the one that is to continue it.

    Args:
        folder: The run.
        saved: Its progress.
        identity: What must be equal: "config", and digests of "data" and "queries".

    Raises:
        RunError: The folder holds a run with other settings or data.
    """
    old, new = saved["config"], identity["config"]
    pairs = {key: (old.get(key), new.get(key)) for key in [*new, *old]}
    changed = [f"{key}: was {was}, is {now}" for key, (was, now) in pairs.items() if was != now]
    for key, name in (("data", "training networks"), ("queries", "queries")):
        if saved.get(key) is not None and saved[key] != identity[key]:
            changed.append(f"the {name} are others")
    if changed:
        raise RunError(
            f"{folder} holds a run with other settings: {'; '.join(changed)}.",
            todo="Repeat the call with the old settings, or choose another folder.",
        )


def load_state(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Put saved weights and moments back, bit for bit.

    Returns:
        The best state, empty if none was kept.

    Raises:
        RunError: The file is damaged, or belongs to another encoder.
    """
    tensors = _read(folder)[1]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            number, _, leaf = rest.partition(".")
            moments.setdefault(int(number), {})[leaf] = value
    own = {name.removeprefix("module."): v for name, v in tensors.items() if name.startswith("module.")}
    try:
        module.load_state_dict(own)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    except (RuntimeError, ValueError) as error:
        raise _unusable(folder, error) from error
    return {name.removeprefix("best."): v for name, v in tensors.items() if name.startswith("best.")}


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(folder / NAME, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return json.loads((file.metadata() or {})["progress"]), tensors
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: Exception) -> RunError:
    return RunError(
        f"{folder / NAME} is damaged or belongs to another encoder, so the run cannot be continued.",
        where=str(error).splitlines()[0] if str(error) else "",
        todo="Choose another folder, or delete this one to start again.",
    )
