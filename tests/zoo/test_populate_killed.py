"""Populating on clusters while a worker or the driver is killed: the same command ends with the same zoo.

Worker processes without a cluster: test_populate.py.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from weightatlas.errors import RunError
from weightatlas.executors import Executor, create_executor
from weightatlas.zoo import Zoo
from weightatlas.zoo.populate import Job, populate
from weightatlas.zoo.recipe import Recipe
from weightatlas.zoo.store import shard_keys

from .conftest import TINY, tiny
from .test_populate import assert_same, dies_once, vectors

HERE = str(Path(__file__).parent.parent.parent)


class Mortal:
    """An executor of which one worker is killed in the middle of a shard, unless that has happened."""

    def __init__(self, inner: Executor) -> None:
        self.inner, self.workers = inner, inner.workers

    def map(self, fn: object, tasks: Iterator[Job]) -> Iterator[Any]:  # type: ignore[override]
        return self.inner.map(dies_once, tasks)


class Leaderless(Mortal):
    """An executor whose driver is killed after the first shard, while others are being trained."""

    def map(self, fn: Any, tasks: Iterator[Job]) -> Iterator[Any]:  # type: ignore[override]
        for count in self.inner.map(fn, tasks):
            os.kill(os.getpid(), signal.SIGKILL)
            yield count


def executor(name: str, folder: Path) -> Executor:
    local = {"cluster": "local", "folder": folder / "jobs"} if name == "slurm" else {}
    return create_executor(name, workers=2, **local)


def driver(name: str, folder: str) -> None:
    """Populate in a process of its own, and die."""
    place = Path(folder)
    populate(Recipe.build(TINY), place / "z", executor=Leaderless(executor(name, place)))  # type: ignore[arg-type]


@pytest.mark.timeout(600)  # starts a dozen processes; two clusters for Ray
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_a_killed_driver_and_a_killed_worker(
    name: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"ray": "ray", "slurm": "submitit"}[name])
    path = os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path.rstrip(os.pathsep))  # workers know this file by its name
    code = f"from tests.zoo.test_populate_killed import driver; driver({name!r}, {str(tmp_path)!r})"
    with (tmp_path / "log").open("wb") as log:  # orphaned workers would keep a pipe open
        dead = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log, start_new_session=True)
        assert dead.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
        with suppress(ProcessLookupError):
            os.killpg(dead.pid, signal.SIGKILL)  # the workers, as far as they are its own
    zoo = tmp_path / "z"
    assert 1 <= len(shard_keys(zoo)) < len(shard_keys(trained))
    mortal: Any = Mortal(executor(name, tmp_path))
    if name == "slurm":  # Ray starts a dead worker's task again by itself
        with pytest.raises(RunError, match="ended without a result"):
            populate(tiny(), zoo, executor=mortal)
    found = populate(tiny(), zoo, executor=mortal)
    assert (tmp_path / "marker").exists()
    assert_same(vectors(found), vectors(Zoo.open(trained)))
    assert shard_keys(zoo) == shard_keys(trained)
    assert found.verify(sample=4).ok
