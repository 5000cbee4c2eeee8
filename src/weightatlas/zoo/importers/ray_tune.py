"""Ray-Tune zoos of Schürholt et al. (2022): a folder per run with params.json, result.json and checkpoints.

Facts of the format: github.com/ModelZoos/ModelZooDataset (zoo_generators, def_net.py). A run holds
`checkpoint_5/checkpoints` or `checkpoint_000005/checkpoints` (a state dict without file extension),
`params.json` with keys such as `model::nlin`, and `result.json`, one JSON object per line; its lines are
found by `training_iteration`. `train_acc` is the running average during the epoch, so early generalization
gaps may be negative.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weightatlas.errors import WeightAtlasError
from weightatlas.weights.files import read_checkpoint
from weightatlas.zoo.importers.columns import name_of
from weightatlas.zoo.importers.registry import Block, Importer, Report, block_of, hyper_columns, importers
from weightatlas.zoo.importers.schuerholt import HYPER, architecture_of, official_of
from weightatlas.zoo.importers.states import read_json

_CHECKPOINT = re.compile(r"^checkpoint_0*(\d+)$")
_METRICS = ("train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc")


@importers.register("ray_tune")
class RayTune(Importer):
    """A run is a lineage, each of its checkpoints a network; the small CNNs and LeNet-5 come with code."""

    name = "ray_tune"
    title = "Ray-Tune zoos (Schürholt et al., 2022)"
    loses = "optimizer states; residual networks and others come without code"

    def recognizes(self, folder: Path) -> bool:
        return any(_checkpoints(run) for run in _some(_runs(folder)))

    def read(self, folder: Path, report: Report) -> Iterator[Block]:
        official = official_of(folder, report.notes)
        for run in sorted(_runs(folder)):
            own = run.relative_to(folder).as_posix()
            try:
                settings, results = _settings(run), _results(run)
            except WeightAtlasError as error:
                report.skip(own, error.what)
                continue
            about = {"network": name_of(own), "lineage": own, "split_official": official.get(run.name)}
            about |= hyper_columns(settings, HYPER)
            for epoch, path in _checkpoints(run):
                file = path.relative_to(folder).as_posix()
                columns = {**about, "id": name_of(file), "source": file, "step": epoch}
                columns |= {name: results.get(epoch, {}).get(name) for name in _METRICS}
                try:
                    block = _block(path, settings, columns)
                except WeightAtlasError as error:
                    report.skip(file, error.what)
                    continue
                report.found += 1
                yield block


def _block(path: Path, settings: Mapping[str, Any], columns: Mapping[str, Any]) -> Block:
    network = read_checkpoint(path).network
    state = {network.origins[name].key: tensor for name, tensor in network.tensors.items()}
    return block_of(state, architecture_of(state, settings.get("model::nlin")), columns)


def _settings(run: Path) -> dict[str, Any]:
    """Read params.json; a nested copy of it in result.json is not needed."""
    found = read_json(run / "params.json")
    return found if isinstance(found, dict) else {}


def _results(run: Path) -> dict[int, dict[str, Any]]:
    """Read result.json: epoch -> metrics. The file may lack lines, or be missing."""
    path = run / "result.json"
    if not path.is_file():
        return {}
    found: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # The last line of an interrupted run.
        if isinstance(row, dict) and isinstance(row.get("training_iteration"), int):
            found[row["training_iteration"]] = row
    return found


def _checkpoints(run: Path) -> list[tuple[int, Path]]:
    """List (epoch, file) of a run, earliest first."""
    named = ((_CHECKPOINT.match(path.name), path / "checkpoints") for path in run.iterdir())
    return sorted((int(match[1]), path) for match, path in named if match and path.is_file())


def _runs(folder: Path) -> Iterator[Path]:
    """Find runs in the folder itself or one level below (the unpacked archive)."""
    for pattern in ("*/params.json", "*/*/params.json"):
        for path in folder.glob(pattern):
            yield path.parent


def _some(runs: Iterator[Path], count: int = 20) -> list[Path]:
    return [run for run, _ in zip(runs, range(count), strict=False)]
