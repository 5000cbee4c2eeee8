"""A tiny zoo, trained once for all tests that only read it."""

import shutil
from pathlib import Path

import pytest

from weightatlas.zoo import Zoo
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import Recipe

TINY = {
    "name": "tiny",
    "task": "digits",
    "task_options": {"train_size": 96},
    "network": "mlp",
    "network_options": {"hidden": [4]},
    "epochs": 2,
    "checkpoints": [1, 2],
    "grid": {"lr": [1e-3, 1e-2], "activation": ["relu", "tanh"]},
    "replicates": 4,
    "shard": 4,
}


def tiny(**changes: object) -> Recipe:
    return Recipe.build({**TINY, **changes})


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo") / "tiny"
    populate(tiny(), folder)
    return folder


@pytest.fixture
def zoo(trained: Path) -> Zoo:
    return Zoo.open(trained)


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of the tiny zoo that a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))
