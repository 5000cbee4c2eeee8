"""SIREN data sets of Zhou et al. (2023, NFN): folders PREFIX_LABELs with net0.pth, net1.pth, ...

Facts of the format: github.com/AllanYangZhou/nfn (experiments/data_utils.py, experiments/siren_utils.py).
Layers are called `net.0.linear`, `net.1.linear`, `net.2`; sines have frequency 30; outputs are images in
[-1, 1]. The number of a file is the image's; the official split cuts at 45,000 and 50,000.
`PREFIX_aug0_LABELs` are further fits of the same image: they share its lineage and its part.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weightatlas.errors import WeightAtlasError
from weightatlas.zoo.importers.columns import name_of
from weightatlas.zoo.importers.inr_states import siren_of
from weightatlas.zoo.importers.registry import Block, Importer, Report, block_of, importers
from weightatlas.zoo.importers.states import read_state

_FOLDER = re.compile(r"^(?P<prefix>.+?)(?:_aug(?P<copy>\d+))?_(?P<label>\d)s$")
_FILE = re.compile(r"^net(\d+)\.pth$")
_VAL, _TEST = 45_000, 50_000


@importers.register("nfn_siren")
class NfnSiren(Importer):
    """Files become networks `siren`; columns `label`, `image` and `copy`."""

    name = "nfn_siren"
    title = "SIRENs of MNIST, Fashion-MNIST and CIFAR-10 (Zhou et al., 2023)"
    loses = "nothing"

    def recognizes(self, folder: Path) -> bool:
        return next(_files(folder), None) is not None

    def read(self, folder: Path, report: Report) -> Iterator[Block]:
        for path in sorted(_files(folder)):
            file = path.relative_to(folder).as_posix()
            try:
                state, _ = read_state(path)
                block = block_of(state, siren_of(state, 30.0, 0.0), _columns(path, file))
            except WeightAtlasError as error:
                report.skip(file, error.what)
                continue
            report.found += 1
            yield block


def _columns(path: Path, file: str) -> dict[str, Any]:
    named, number = _FOLDER.match(path.parent.name), _FILE.match(path.name)
    if named is None or number is None:  # `_files` has matched both already
        raise WeightAtlasError(f"{file} is not named PREFIX_LABELs/netNUMBER.pth.")
    image = int(number[1])
    part = "train" if image < _VAL else "val" if image < _TEST else "test"
    return {
        "id": name_of(file),
        "network": name_of(file),
        "source": file,
        "lineage": f"image-{image}",
        "split_official": part,
        "label": float(named["label"]),
        "image": float(image),
        "copy": None if named["copy"] is None else float(named["copy"]),
    }


def _files(folder: Path) -> Iterator[Path]:
    """Find the files of the folder itself and of one level below (the unpacked archive)."""
    for pattern in ("*_[0-9]s/net*.pth", "*/*_[0-9]s/net*.pth"):
        for path in folder.glob(pattern):
            if _FOLDER.match(path.parent.name) and _FILE.match(path.name):
                yield path
