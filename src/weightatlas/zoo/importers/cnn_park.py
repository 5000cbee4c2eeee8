"""The CNN Wild Park of Kofinas et al. (2024): Ray-Tune folders with checkpoint.pt, and a JSON with the split.

Facts of the format: github.com/mkofinas/neural-graphs (experiments/cnn_generalization/dataset). Each
checkpoint.pt holds `model` (`layers.0.weight`, ..., `fc.bias`), `config` (n_layers, channels, kernel_size,
stride, padding, residual, activation; an OmegaConf container or a data class), `last_result` with
"test/acc" and "test/loss", `iteration`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weightatlas.errors import SpecError, WeightAtlasError
from weightatlas.weights.files.records import open_records, plain_value
from weightatlas.zoo.importers.columns import name_of
from weightatlas.zoo.importers.registry import (
    Architecture,
    Block,
    Importer,
    Report,
    bare_architecture,
    block_of,
    fits,
    importers,
    known_architecture,
)
from weightatlas.zoo.importers.states import assign, read_splits, take_state

_NAMES = (
    "omegaconf.",
    "experiments.cnn_generalization.dataset.cnn_sampler.CNNConfig",
    "__main__.CNNConfig",
    "cnn_sampler.CNNConfig",
    "typing.",
)
_SIDE = 32


@importers.register("cnn_park")
class CnnPark(Importer):
    """Every checkpoint becomes a network `cnn_park` of its own architecture; a run is a lineage."""

    name = "cnn_park"
    title = "CNN Wild Park (Kofinas et al., 2024)"
    loses = "optimizer states; networks with stride above 1 or other padding come without code"

    def recognizes(self, folder: Path) -> bool:
        return next(folder.rglob("checkpoint_*/checkpoint.pt"), None) is not None

    def read(self, folder: Path, report: Report) -> Iterator[Block]:
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("checkpoint.pt"))
        splits = sorted(folder.glob("*split*.json"))
        parts, missing = assign(read_splits(splits[0]), files) if splits else ({}, 0)
        if not splits:
            report.notes.append("No split JSON beside the folders: there is no official split.")
        if missing:
            report.notes.append(f"{splits[0].name} names {missing:,} files that are not in {folder}.")
        for file in files:
            try:
                block = _block(folder / file, file, parts.get(file, (None, None))[0])
            except WeightAtlasError as error:
                report.skip(file, error.what)
                continue
            report.found += 1
            yield block


def _block(path: Path, file: str, part: str | None) -> Block:
    """Read one checkpoint."""
    with open_records(path, _NAMES) as content:
        inside = content.get("model") if isinstance(content, dict) else None
        if not isinstance(inside, dict):
            raise SpecError(f"{path} has no entry 'model' with a state dict.")
        state = take_state(inside, path)
        rest = {key: plain_value(content.get(key)) for key in ("config", "last_result", "iteration")}
    config = rest["config"] if isinstance(rest["config"], dict) else {}
    result = rest["last_result"] if isinstance(rest["last_result"], dict) else {}
    run = Path(file).parent.parent.as_posix()
    step = rest["iteration"] if isinstance(rest["iteration"], int | float) else 0
    columns: dict[str, Any] = {
        "id": name_of(file),
        "network": name_of(run),
        "lineage": run,
        "source": file,
        "step": step,
        "split_official": part,
        "test_acc": result.get("test/acc"),
        "test_loss": result.get("test/loss"),
        **{f"hp.{name}": config.get(name) for name in ("n_layers", "channels", "kernel_size", "residual")},
        "hp.activation": config.get("activation"),
    }
    return block_of(state, _architecture(state, config), columns)


def _architecture(state: Mapping[str, Any], config: Mapping[str, Any]) -> Architecture:
    """Build the network its settings describe, if the library's family has it."""
    names = ("channels", "kernel_size", "stride", "padding", "residual", "activation")
    lists = [one for one in map(config.get, names) if isinstance(one, list) and one]
    if len(lists) == len(names):
        channels, kernels, strides, paddings, residual, activations = lists
        plain = set(strides) == {1} and paddings == [kernel // 2 for kernel in kernels]
        if plain:
            options = {
                "channels_in": channels[0],
                "image_size": _SIDE,
                "classes": config.get("n_classes", 10),
            }
            options |= {"widths": channels[1:], "kernels": kernels, "residual": residual}
            found = known_architecture("cnn_park", activation=activations, **options)
            if fits(state, found):
                return found
    return bare_architecture(state)
