"""Progress display: silent by default, lines in logs, one shared screen on terminals."""

import io
import time

import pytest
from rich.console import Console

from weightatlas import progress


@pytest.fixture(autouse=True)
def _reset():
    yield
    progress.disable()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_library_user_sees_nothing(capfd):
    with progress.track(3, "training") as bar:
        bar.advance(3, note="loss 1")
    assert capfd.readouterr() == ("", "")
    assert bar.done == 3


def test_a_log_gets_one_line_per_interval_with_the_time_left():
    out, clock = io.StringIO(), Clock()
    progress.enable(Console(file=out), interval=10, clock=clock)
    with progress.track(100, "training networks") as bar:
        for _ in range(50):
            clock.now += 1
            bar.advance(1, note="loss 0.5")
    lines = out.getvalue().splitlines()
    assert len(lines) == 6  # at 10, 20, 30, 40, 50 seconds, and the end
    assert lines[0] == "training networks: 10/100 (10%), 10.0 s so far, 1:30 min left, loss 0.5"
    assert lines[-1] == "training networks: done in 50.0 s, loss 0.5"


def test_interrupted_work_does_not_claim_to_be_done():
    out, clock = io.StringIO(), Clock()
    progress.enable(Console(file=out), clock=clock)

    def interrupted() -> None:
        with progress.track(4, "fitting") as bar:
            bar.advance(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert out.getvalue() == "fitting: stopped after 0.0 s, 1/4 (25%)\n"


def test_unknown_total_is_counted_up():
    out, clock = io.StringIO(), Clock()
    progress.enable(Console(file=out), interval=1, clock=clock)
    with progress.track(None, "reading") as bar:
        clock.now = 2.0
        bar.advance(1500)
    assert out.getvalue().splitlines()[0] == "reading: 1,500, 2.0 s so far"


def test_a_terminal_gets_nested_bars_with_totals_and_notes():
    out = io.StringIO()
    progress.enable(Console(file=out, force_terminal=True, width=120))
    with progress.track(2, "outer") as outer:
        for _ in range(2):
            with progress.track(5, "inner") as inner:
                inner.advance(5, note="loss 0.25")
            outer.advance()
    with progress.track(1, "later") as later:
        later.advance()
    text = out.getvalue()
    assert all(part in text for part in ("outer", "2/2", "inner", "5/5", "loss 0.25", "later", "1/1"))


def test_updates_are_cheap():
    progress.enable(Console(file=io.StringIO(), force_terminal=True, width=120))
    with progress.track(100_000, "steps") as bar:
        start = time.perf_counter()
        for _ in range(100_000):
            bar.advance()
        assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1:00 min"), (3600, "1:00 h")]
)
def test_duration(seconds, text):
    assert progress.duration(seconds) == text
