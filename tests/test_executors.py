"""Executors: every task once, whatever runs it."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from weightatlas import runtime
from weightatlas.errors import ConfigError
from weightatlas.executors import ProcessExecutor, carried, create_executor


def double(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def surroundings(_: int) -> tuple[str, float, str | None]:
    return os.getcwd(), runtime.memory_budget(), os.environ.get("WEIGHTATLAS_DATA")


def fail(number: int) -> int:
    raise ConfigError(f"Number {number}.", where="Here.", todo="Stop.")


@pytest.mark.parametrize("name", ["serial", "processes"])
def test_every_task_once(name: str) -> None:
    from joblib.externals.loky import get_reusable_executor

    results = list(create_executor(name).map(double, range(5)))
    assert sorted(value for value, _ in results) == [0, 2, 4, 6, 8]
    assert ({os.getpid()} == {pid for _, pid in results}) == (name == "serial")
    if name == "processes":
        get_reusable_executor().shutdown(wait=True)


def test_named_errors_cross_processes() -> None:
    from joblib.externals.loky import get_reusable_executor

    with pytest.raises(ConfigError, match="Number"):
        list(ProcessExecutor(2).map(fail, [1, 2, 3]))
    get_reusable_executor().shutdown(wait=True)


def test_unknown_executor() -> None:
    with pytest.raises(ConfigError, match="serial"):
        create_executor("serail")


def test_processes_that_run_already_get_what_this_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from joblib.externals.loky import get_reusable_executor

    pool = ProcessExecutor(2)
    monkeypatch.delenv("WEIGHTATLAS_DATA", raising=False)
    monkeypatch.delenv(runtime.MEMORY, raising=False)
    try:
        before = list(pool.map(surroundings, range(2)))
        with monkeypatch.context() as told:
            told.chdir(tmp_path)
            told.setenv(runtime.MEMORY, "77")
            told.setenv("WEIGHTATLAS_DATA", "data")
            found = list(pool.map(surroundings, range(2)))
        after = list(pool.map(surroundings, range(2)))
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert found == [(str(tmp_path), 77.0, str(tmp_path / "data"))] * 2
    assert before == after == [(os.getcwd(), 2048.0, None)] * 2


def test_a_worker_that_others_started_gets_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder may not be there, and its own number of threads comes first."""
    monkeypatch.setenv(runtime.MEMORY, "77")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    call = pickle.dumps(carried(os.getenv))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").rmdir()
    code = "import sys, pickle; f = pickle.load(sys.stdin.buffer); print(*map(f, sys.argv[1:]))"
    own = {name: value for name, value in os.environ.items() if name not in (runtime.MEMORY, "HOME")}
    for threads, expected in (({"OMP_NUM_THREADS": "3"}, "3"), ({"OMP_NUM_THREADS": ""}, "5")):
        environment = {name: value for name, value in {**own, **threads}.items() if value}
        done = subprocess.run(
            [sys.executable, "-c", code, runtime.MEMORY, "OMP_NUM_THREADS"],
            input=call,
            capture_output=True,
            env=environment,
            check=True,
        )
        assert done.stdout.split() == [b"77", expected.encode()]
