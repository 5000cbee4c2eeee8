"""Processes: parts, who speaks, how they start and end. What they compute together: tests/fit/test_run.py."""

import os
import sys

import pytest
import torch

from weightatlas import processes
from weightatlas.errors import ConfigError, RunError
from weightatlas.processes import ALONE, Elsewhere, Processes, connect, environment, is_quiet, launch


@pytest.mark.parametrize(("total", "count"), [(7, 3), (6, 3), (2, 3), (0, 2), (5, 1)])
def test_parts_cover_all_rows_in_order_and_are_nearly_equal(total: int, count: int) -> None:
    parts = [list(range(total))[Processes(rank, count).part(total)] for rank in range(count)]
    assert [row for part in parts for row in part] == list(range(total))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_one_process_does_everything_itself() -> None:
    values = torch.ones(2, 3, 1)
    assert ALONE.main
    assert ALONE.sum(values) is values
    assert ALONE.gather(values, 3) is values
    assert ALONE.objects("a") == ["a"]
    assert ALONE.largest([1.0, 2.0]) == [1.0, 2.0]
    assert ALONE.main_first(lambda: 5) == 5
    with pytest.raises(RunError, match="as it is"), ALONE.shared():
        raise RunError("as it is")
    assert connect("no device, but nobody asks") is ALONE
    error = RunError("x")
    assert Processes(0, 2).once(error) is error
    assert isinstance(Processes(1, 2).once(error), Elsewhere)


def test_a_process_is_quiet_if_another_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RunError("met by all")
    assert not is_quiet()
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, quiet in (("0", False), ("1", True)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert is_quiet() == is_quiet(error) == quiet
    monkeypatch.setattr(processes.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(processes.dist, "get_rank", lambda: 1)
    assert not is_quiet(error)  # only this process has met it
    assert is_quiet(Elsewhere("named there"))
    assert is_quiet(processes.Lost("gone"))
    monkeypatch.setattr(processes.dist, "get_rank", lambda: 0)
    assert not is_quiet(processes.Lost("gone"))


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="3 processes were started for 2 GPUs"):
        connect("auto")
    with pytest.raises(ConfigError, match="no device 'cud'"):
        connect("cud")


def test_processes_know_their_place_and_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    told = environment(1, 2, 1234, 8)
    assert told["RANK"] == told["LOCAL_RANK"] == "1"
    assert told["MASTER_ADDR"] == "127.0.0.1"
    assert told["OMP_NUM_THREADS"] == "4"
    assert told["PATH"] == os.environ["PATH"]


def test_a_failing_process_ends_the_others() -> None:
    wait = "import os, sys, time; time.sleep(0 if os.environ['RANK'] == '1' else 60); sys.exit(3)"
    assert launch([sys.executable, "-c", wait], 2, 2) == 3
    assert launch([sys.executable, "-c", ""], 2, 2) == 0
