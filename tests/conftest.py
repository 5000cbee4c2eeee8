"""Every test: seeded, offline, one torch thread, warnings as errors, shapes checked at run time."""

import os

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
