"""Pickled data sets of the hyper-representation repositories (Schürholt et al., 2021 and 2022): dataset.pt.

Facts of the format: github.com/HSG-AIML/NeurIPS_2022-Generative_Hyper_Representations
(checkpoints_to_datasets/dataset_base.py). A dictionary of `trainset`, `valset`, `testset`, each an object
with `data_in` (state dicts, or vectors), `paths`, `epochs` and `properties`; config_ae.json or
index_dict.json has the layers.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from weightatlas.errors import DataError, WeightAtlasError
from weightatlas.weights.files.leaf import Leaf, read_leaf
from weightatlas.weights.files.records import Record, open_records, plain_value
from weightatlas.zoo.importers.columns import name_of
from weightatlas.zoo.importers.registry import Block, Importer, Report, block_of, importers
from weightatlas.zoo.importers.schuerholt import CLASSES, architecture_of, cut, shapes_of
from weightatlas.zoo.importers.states import read_json, take_state

_PARTS = {"trainset": "train", "valset": "val", "testset": "test"}
_METRICS = ("train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc")


@importers.register("sample_sets")
class SampleSets(Importer):
    """Samples become networks with their published part; samples of one path are one lineage."""

    name = "sample_sets"
    title = "pickled data sets of hyper-representations (Schürholt et al., 2021, 2022)"
    loses = (
        "precomputed permutations and targets (`data_out`); settings of the runs, unless among the properties"
    )

    def recognizes(self, folder: Path) -> bool:
        beside = ("config_ae.json", "config_zoo.json", "index_dict.json")
        return (folder / "dataset.pt").is_file() and any((folder / name).is_file() for name in beside)

    def read(self, folder: Path, report: Report) -> Iterator[Block]:
        path = folder / "dataset.pt"
        shapes, activation = _about(folder)
        with open_records(path, CLASSES) as content:
            sets = {
                part: content[key]
                for key, part in _PARTS.items()
                if isinstance(content, dict) and isinstance(content.get(key), Record)
            }
            if not sets:
                raise DataError(f"{path} holds no trainset or testset of networks.")
            for part, record in sets.items():
                samples = record.fields.get("data_in")
                for index, sample in enumerate(samples if isinstance(samples, list) else []):
                    place = f"dataset.pt:{part}:{index}"
                    try:
                        state = _state(sample, shapes, path, place)
                        columns = _columns(record, part, index, place)
                        block = block_of(state, architecture_of(state, activation), columns)
                    except WeightAtlasError as error:
                        report.skip(place, error.what)
                        continue
                    report.found += 1
                    yield block


def _about(folder: Path) -> tuple[dict[str, tuple[int, ...]] | None, Any]:
    """Read shapes and activation from the settings beside the data set."""
    shapes, activation = None, None
    for name in ("config_ae.json", "index_dict.json", "config_zoo.json"):
        path = folder / name
        content = read_json(path) if path.is_file() else {}
        content = content if isinstance(content, dict) else {}
        index = content if name == "index_dict.json" else content.get("model::index_dict")
        if isinstance(index, dict) and index and shapes is None:
            shapes = shapes_of(index, str(path))
        activation = content.get("model::nlin", activation) if name == "config_zoo.json" else activation
    return shapes, activation


def _state(
    sample: Any, shapes: Mapping[str, tuple[int, ...]] | None, path: Path, place: str
) -> dict[str, Tensor]:
    """Read one sample: a state dict, or a vector that is cut by the layers."""
    if isinstance(sample, dict):
        return take_state(sample, path)
    if not isinstance(sample, Leaf):
        raise DataError(f"{place} is neither a state dict nor a vector.")
    if shapes is None:
        raise DataError(f"{place} is a vector, and no index_dict beside dataset.pt names its layers.")
    return cut(read_leaf(sample, place)[0], shapes, place)


def _columns(record: Record, part: str, index: int, place: str) -> dict[str, Any]:
    """Collect what a data set knows of one sample."""
    pick = lambda name: _at(record.fields.get(name), index)  # noqa: E731
    run = plain_value(pick("paths"))
    run = str(run).rstrip("/").rpartition("/")[2] if run else place
    epoch = plain_value(pick("epochs"))
    columns: dict[str, Any] = {
        "id": f"{name_of(run)}-{int(epoch or 0):04d}",
        "network": name_of(run),
        "lineage": run,
        "source": place,
        "split_official": part,
        "step": int(epoch or 0),
    }
    properties = record.fields.get("properties")
    for key, values in (properties if isinstance(properties, dict) else {}).items():
        value = plain_value(_at(values, index))
        if key in _METRICS:
            columns[key] = value
        elif key not in ("training_iteration", "ggap"):
            columns[f"hp.{key.replace('::', '_')}"] = value
    return columns


def _at(values: Any, index: int) -> Any:
    return values[index] if isinstance(values, list) and index < len(values) else None
