"""Executors: every task once, whatever runs it."""

import os

import pytest

from weightatlas.errors import ConfigError
from weightatlas.executors import ProcessExecutor, create_executor


def double(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


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
