"""A small zoo and a run fitted on it, made once by the command itself."""

from pathlib import Path

import pytest

from weightatlas import progress
from weightatlas.cli import main


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "zoo"
    assert main(["zoo", "populate", "digits", "--tier", "smoke", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def run(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    words = ["--zoo", str(zoo), "--out", str(folder), "--steps", "4", "--dim", "16", "--layers", "1"]
    assert main(["fit", "sane", *words]) == 0
    return folder


@pytest.fixture(scope="session")
def supervised(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of an encoder that was trained on two properties."""
    folder = tmp_path_factory.mktemp("cli") / "deep_sets"
    words = ["--zoo", str(zoo), "--out", str(folder), "--steps", "4", "--width", "8", "--layers", "1"]
    assert main(["fit", "deep_sets", *words, "--property", "test_acc", "train_acc"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _silent_again():
    yield
    progress.disable()
