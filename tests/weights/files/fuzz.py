"""Read damaged, crafted and costly checkpoints: named errors only, no code, no hang, little memory."""

import io
import pickle
import random
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from tests.weights.files import collection
from tests.weights.files.attacks import ATTACKS
from tests.weights.files.crafted import crafted
from weightatlas.errors import WeightAtlasError
from weightatlas.weights.files import read_checkpoint
from weightatlas.weights.files.read import UNFORESEEN

_NUMBERS = [
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
]


_CRAFTED = 8  # every so many numbers stand for files that hypothesis makes


class Fuzz:
    """Files that depend only on a seed and a number: first costly ones, then crafted and damaged ones.

    Args:
        folder: Where damaged files are written.
        seed: Chooses the damage.
        slow_share: Share of HDF5 files, each of which starts a process.
    """

    def __init__(self, folder: Path, seed: int = 0, slow_share: float = 0.02) -> None:
        self.folder, self.seed, self.slow_share = folder, seed, slow_share
        self.trap = folder / "executed"
        with tempfile.TemporaryDirectory() as source:
            good = list(collection.good_files(Path(source)))
            seeds = {name: (Path(source) / name).read_bytes() for name in good}
        harmful = {"w": torch.ones(2, 2), "x": collection.Harmful(self.trap)}
        seeds["harm.pt"] = collection.torch_bytes(harmful)
        seeds["harm_old.pt"] = collection.torch_bytes(harmful, new=False)
        seeds["harm.pkl"] = pickle.dumps(harmful["x"])
        mixed = {
            "q": collection.quantized(torch.ones(3, 3)),
            "s": torch.eye(3).to_sparse(),
        }
        seeds["mixed.pt"] = collection.torch_bytes(mixed | {"c": torch.ones(2, 2, dtype=torch.complex64)})
        self.slow = {name: data for name, data in seeds.items() if name.endswith(("h5", "hdf5", ".keras"))}
        self.fast = {name: data for name, data in seeds.items() if name not in self.slow}

    def damaged(self, number: int) -> tuple[str, bytes]:
        """Name and content of one damaged file."""
        rng = random.Random(f"{self.seed}/{number}")
        pool = self.slow if rng.random() < self.slow_share else self.fast
        name = rng.choice(sorted(pool))
        data = pool[name]
        if rng.random() < 0.02:
            return name, data
        if data[:2] == b"PK" and rng.random() < 0.6:
            return name, _in_zip(data, rng)
        for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
            data = _damage(data, rng)
        return name, data

    def cases(self, number: int) -> list[tuple[str, bytes]]:
        """Names and contents of the files of one number."""
        if number < len(ATTACKS):
            name, make = list(ATTACKS.items())[number]
            return [(name, make())]
        return crafted(self.seed << 32 | number) if number % _CRAFTED == 0 else [self.damaged(number)]

    def one(self, number: int) -> list[str]:
        """Read the files of one number: "read" or "refused: why" for each. Anything else is raised."""
        return [self.read(name, data) for name, data in self.cases(number)]

    def read(self, name: str, data: bytes) -> str:
        """Write and read one file."""
        path = self.folder / f"case{Path(name).suffix}"
        path.write_bytes(data)
        try:
            found = read_checkpoint(path)
            for network in found.networks:
                network.restore(network.tensors)
                _ = network.params, network.lossy
        except WeightAtlasError as error:
            unforeseen = UNFORESEEN in str(error) or "more memory than there is" in str(error)
            return f"UNFORESEEN: {name}: {error}" if unforeseen else f"refused: {error.what}"
        return "read"


def _damage(data: bytes, rng: random.Random) -> bytes:
    """Change bytes at one place; structure stands at both ends of most files, so they are hit more often."""
    near = rng.choice([64, 512, len(data), len(data)])
    place = rng.randrange(min(near, len(data)) or 1)
    place = place if rng.random() < 0.7 else max(0, len(data) - 1 - place)
    kind = rng.randrange(7)
    if kind == 0:
        return (
            data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
            if data
            else data
        )
    if kind == 1:
        return data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]
    if kind == 2:
        number = rng.choice(_NUMBERS).to_bytes(8, rng.choice(["little", "big"]))[: rng.choice([1, 2, 4, 8])]
        return data[:place] + number + data[place + len(number) :]
    if kind == 3:
        return data[:place]
    length = rng.choice([1, 2, 8, 100])
    if kind == 4:
        return data[:place] + data[place + length :]
    if kind == 5:
        return data[:place] + data[place : place + length] * rng.choice([2, 3, 50]) + data[place + length :]
    other = rng.randrange(len(data) or 1)
    return data[:place] + data[other : other + length] + data[place + length :]


def _in_zip(data: bytes, rng: random.Random) -> bytes:
    """Damage one member of a zip and write a zip around it that is whole, checksums included."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    structure = [name for name in members if name.endswith((".pkl", ".npy", ".pth", ".h5", ".json"))]
    name = rng.choice(structure if structure and rng.random() < 0.8 else sorted(members))
    for _ in range(rng.choice([1, 1, 2, 8])):
        members[name] = _damage(members[name], rng)
    if rng.random() < 0.1:
        members[rng.choice(sorted(members))] = b""
    return collection.zip_bytes(members, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


def watch(report: Callable[[str], None]) -> None:
    """Report every import, call or command that reading must never cause, through Python's audit events."""
    forbidden = ("pickle.find_class", "os.system", "os.exec", "os.fork", "os.mkdir", "builtins.eval")

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in forbidden and not (event == "os.mkdir" and "weightatlas-" in str(arguments[0])):
            report(f"{event} {str(arguments)[:200]}")

    sys.addaudithook(hook)
