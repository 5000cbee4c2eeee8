"""Every test: seeded, offline, one torch thread, warnings as errors, shapes checked at run time."""

import os
import warnings
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

from jaxtyping import install_import_hook

_CHECKED = ("weights", "symmetry", "population", "encoders", "objectives", "latent")
install_import_hook([f"weightatlas.{room}" for room in _CHECKED], "beartype.beartype")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Same random numbers and one thread for every test; the network is off."""
    import socket

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError("tests run offline")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (third-party code may use the global stream)
    torch.set_num_threads(1)


_PARK = """
base: cnn_park_digits
name: tiny_park
tiers:
  smoke:
    variants: {count: 3, layers: [2, 3], channels: [2, 4]}
    task_options: {train_size: 64, test_size: 64}
    split: {train: 0.5, val: 0.2, test: 0.3}
    replicates: 8
    shard: 8
"""


class Park(NamedTuple):
    """A zoo of several layouts: its recipe, the cache of benches it lies in, its folder."""

    recipe: Path
    cache: Path
    zoo: Path


@pytest.fixture(scope="session")
def park(tmp_path_factory: pytest.TempPathFactory) -> Park:
    from weightatlas.zoo.populate import populate
    from weightatlas.zoo.recipe import load_recipe

    cache = tmp_path_factory.mktemp("park")
    found = Park(cache / "tiny_park.yaml", cache, cache / "zoos" / "tiny_park-smoke")
    found.recipe.write_text(_PARK)
    with warnings.catch_warnings():
        # torch warns that it pools so few channels of many networks slowly.
        warnings.filterwarnings("ignore", "There is a performance drop")
        populate(load_recipe(found.recipe, "smoke"), found.zoo)
    return found
