"""Fitted predictors on disk: safetensors and JSON, no code."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from weightatlas.atomic import replacing, write_text
from weightatlas.encoders.io import from_pretrained, save_pretrained
from weightatlas.errors import FileError
from weightatlas.objectives.property import Target
from weightatlas.predict.classify import Classes, fit_classes
from weightatlas.predict.committee import Committee, fit_committee
from weightatlas.predict.finetune import Finetuned, Finetuning, supervised
from weightatlas.predict.heads import Heads
from weightatlas.predict.outoffold import Calibration
from weightatlas.predict.ridge import Ridge
from weightatlas.predict.trees import Trees, fit_trees

Fitted = Heads | Finetuned
_CALIBRATION = ("predicted", "true", "fold")
_RIDGE = ("mean", "std", "weight", "bias", "chosen", "scores")


def write_head(
    folder: str | Path,
    fitted: Fitted,
    calibration: Calibration | None,
    about: dict[str, Any],
    tuning: Finetuning | None,
) -> None:
    """Write a fitted head, and the encoder if it was trained along; `predictor.json` comes last.

    Args:
        folder: Where to; made if missing.
        fitted: What was fitted.
        calibration: What sets the width of intervals, or none.
        about: JSON values of the predictor.
        tuning: Settings of a finetuning.
    """
    folder = Path(folder)
    tensors: dict[str, Tensor] = {}
    if calibration is not None:
        tensors |= {f"calibration.{name}": getattr(calibration, name) for name in _CALIBRATION}
    if isinstance(fitted, Ridge):
        tensors |= {name: getattr(fitted, name) for name in _RIDGE}
    elif isinstance(fitted, Trees):
        tensors |= {"features": fitted.features, "targets": fitted.targets}
        about = {**about, "rounds": list(fitted.rounds)}
    elif isinstance(fitted, Classes):
        tensors |= {"features": fitted.features, "targets": fitted.targets}
        about = {**about, "classes": list(fitted.chosen)}
    elif isinstance(fitted, Committee):
        tensors |= {"features": fitted.features, "targets": fitted.targets}
    else:
        tensors |= {f"loss.{name}": value for name, value in fitted.loss.state_dict().items()}
        settings = fitted.loss.settings or {}
        targets = [target.model_dump() for target in fitted.property.targets]
        tuned = None if tuning is None else tuning.model_dump(mode="json")
        about = {**about, "finetune": tuned, "targets": targets, "width": settings["width"]}
        save_pretrained(fitted.encoder, folder / "encoder")
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(folder / "predictor.safetensors") as temporary:
        save_file(contiguous, temporary)
    write_text(folder / "predictor.json", json.dumps({"version": 1, **about}, indent=1) + "\n")


def read_head(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read what `write_head` wrote.

    Raises:
        FileError: The folder holds no predictor, or a damaged one.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / "predictor.json").read_text(encoding="utf-8"))
        return about, load_file(folder / "predictor.safetensors")
    except Exception as error:
        raise FileError(f"{folder} holds no readable predictor: {error}") from None


def calibration_of(tensors: dict[str, Tensor]) -> Calibration | None:
    """Read what sets the width of intervals; there may be nothing."""
    if "calibration.true" not in tensors:
        return None
    predicted, true, fold = (tensors[f"calibration.{name}"] for name in _CALIBRATION)
    return Calibration(predicted, true, fold)


def is_finetuned(folder: str | Path) -> bool:
    """Say whether a folder holds a predictor whose encoder was trained along."""
    place = Path(folder) / "predictor.json"
    return place.is_file() and read_head(folder)[0].get("finetune") is not None


def fitted_of(about: dict[str, Any], tensors: dict[str, Tensor]) -> Heads:
    """Make a head again; trees, committees and classifiers are fitted again from their training table."""
    if "classes" in about:
        table = tensors["features"], tensors["targets"]
        return fit_classes(about["head"], table, seed=about["seed"], chosen=tuple(about["classes"]))
    if about["head"] == "ridge":
        return Ridge(*(tensors[name] for name in _RIDGE))
    table = tensors["features"], tensors["targets"]
    if about["head"] == "committee":
        return fit_committee(*table, seed=about["seed"])
    return fit_trees(*table, rounds=tuple(about["rounds"]), seed=about["seed"])


def read_finetuned(
    folder: str | Path, about: dict[str, Any], tensors: dict[str, Tensor], tuning: Finetuning
) -> Finetuned:
    """Make a finetuned encoder and its head again.

    Raises:
        FileError: The head does not fit the settings.
    """
    targets = [Target.build(target) for target in about["targets"]]
    loss = supervised(targets, about["width"], tuning, about["seed"])
    own = {n.removeprefix("loss."): v for n, v in tensors.items() if n.startswith("loss.")}
    try:
        loss.load_state_dict(own)
    except RuntimeError as error:
        raise FileError(f"The head in {folder} is damaged.", where=str(error).splitlines()[0]) from None
    encoder = from_pretrained(Path(folder) / "encoder")
    return Finetuned(encoder, loss.eval().to(torch.device("cpu")), [])
