"""INR data sets of Navon et al. (2023): one .pth per image or sine, and a JSON with the split.

Facts of the format: github.com/AvivNavon/DWSNets (experiments/mnist/generate_data_splits.py,
experiments/data.py, nn/inr.py). Layers are called `seq.0`, `seq.1`, ...; sines have frequency 30, outputs
are shifted by 0.5. MNIST's label stands in the folder's name, Fashion-MNIST's and the sines' (`coef`) in
the file.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weightatlas.errors import WeightAtlasError
from weightatlas.zoo.importers.columns import name_of
from weightatlas.zoo.importers.inr_states import siren_of
from weightatlas.zoo.importers.registry import Block, Importer, Report, block_of, importers
from weightatlas.zoo.importers.states import assign, read_splits, read_state

_MNIST = re.compile(r"mnist_png_(training|testing)_(\d+)_")
_OMEGA, _SHIFT = 30.0, 0.5


@importers.register("navon")
class Navon(Importer):
    """Files become networks `siren`; columns `label`, or `amplitude` and `frequency` for sines."""

    name = "navon"
    title = "INRs of images and sines (Navon et al., 2023)"
    loses = "points x, y kept in sine files; positional-encoding INRs"

    def recognizes(self, folder: Path) -> bool:
        named = next(folder.glob("mnist_png_*/**/*.pth"), None) is not None
        return named or _lists_networks(folder)

    def read(self, folder: Path, report: Report) -> Iterator[Block]:
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.pth"))
        parts = _parts(folder, files, report)
        for file in files:
            try:
                block = _block(folder / file, file, parts.get(file))
            except WeightAtlasError as error:
                report.skip(file, error.what)
                continue
            report.found += 1
            yield block


def _block(path: Path, file: str, part: tuple[str, Any] | None) -> Block:
    """Read one network."""
    state, others = read_state(path)
    columns: dict[str, Any] = {"id": name_of(file), "network": name_of(file), "lineage": file, "source": file}
    named = _MNIST.search(file)
    split, label = part or (None, None)
    if named:
        label = named[2] if label is None else label
        split = split or {"training": "train", "testing": "test"}[named[1]]
    label = others.get("label", label) if label is None else label
    if isinstance(label, list):
        label = label[0]
    columns |= {"split_official": split, "label": None if label is None else float(label)}
    coefficients = others.get("coef")
    if isinstance(coefficients, list) and len(coefficients) == 2:
        columns |= dict(zip(("amplitude", "frequency"), coefficients, strict=True))
    return block_of(state, siren_of(state, _OMEGA, _SHIFT), columns)


def _parts(folder: Path, files: list[str], report: Report) -> dict[str, tuple[str, Any]]:
    """Read the published split, if there is one."""
    found = _split_files(folder)
    if not found:
        report.notes.append("No split JSON beside the files: parts are those in folder names, without val.")
        return {}
    parts, missing = assign(read_splits(found[0]), files)
    if missing:
        report.notes.append(f"{found[0].name} names {missing:,} files that are not in {folder}.")
    return parts


def _lists_networks(folder: Path) -> bool:
    """Tell whether a split JSON lists .pth files."""
    try:
        lists = [entries for path in _split_files(folder) for entries in read_splits(path).values()]
    except WeightAtlasError:
        return False
    return any(path.endswith(".pth") for entries in lists for path, _ in entries[:1])


def _split_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*split*.json"))
