"""The fastest wins, and hopeless contestants do not run again."""

import time
from collections import Counter
from functools import partial

import pytest
import torch

from weightatlas.population.race import clock_for, race


def test_the_fastest_wins_and_the_hopeless_leave() -> None:
    lap, calls, now = {"slow": 7.0, "fast": 2.0, "middle": 3.0}, Counter(), [0.0]

    def run(name: str) -> None:
        calls[name] += 1
        now[0] += lap[name]

    found = race({name: partial(run, name) for name in lap}, rounds=4, clock=lambda: now[0])
    assert found == ("fast", lap)
    assert calls == {"slow": 1, "fast": 4, "middle": 4}


def test_all_get_the_same_rounds_if_they_are_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weightatlas.population.race.BEHIND", float("inf"))
    calls = Counter()
    race({name: partial(calls.update, [name]) for name in "ab"}, rounds=4)
    assert calls == {"a": 4, "b": 4}


def test_processor_time_counts_only_where_all_work_is_in_this_thread() -> None:
    cpu = torch.device("cpu")
    assert torch.get_num_threads() == 1
    assert clock_for(cpu, 1) is time.thread_time
    assert clock_for(cpu, 2) is time.perf_counter
