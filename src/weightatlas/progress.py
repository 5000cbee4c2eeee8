"""Progress of long work: a bar on a terminal, one line per interval in a log, nothing as a library."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_REFRESH = 0.1  # Seconds between two updates handed to rich: `advance` itself must cost next to nothing.


class Tracker:
    """Counts finished work. This silent kind is what library users get.

    Args:
        total: Units of work, or none if unknown.
        description: What is being done, as in "training networks".
    """

    def __init__(self, total: float | None, description: str) -> None:
        self.total, self.description = total, description
        self.done: float = 0
        self.note = ""

    def advance(self, n: float = 1, note: str = "") -> None:
        """Report `n` further units as done, and optionally how it goes ("loss 0.31")."""
        self.done += n
        self.note = note or self.note

    def close(self, finished: bool) -> None:
        """End the display; `finished` is false if the work was interrupted."""


class _Bar(Tracker):
    """A row of the shared rich display."""

    def __init__(self, total: float | None, description: str, screen: "Progress") -> None:
        super().__init__(total, description)
        self._screen = screen
        self._row = screen.add_task(description, total=total, note="")
        self._shown = time.monotonic()

    def advance(self, n: float = 1, note: str = "") -> None:
        super().advance(n, note)
        if time.monotonic() - self._shown >= _REFRESH:
            self._show()

    def close(self, finished: bool) -> None:
        self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        self._screen.update(self._row, completed=self.done, note=self.note)


class _Lines(Tracker):
    """One line per interval, for logs and pipes."""

    def __init__(
        self,
        total: float | None,
        description: str,
        stream: IO[str],
        interval: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(total, description)
        self._stream, self._interval, self._clock = stream, interval, clock
        self._start = self._shown = clock()

    def advance(self, n: float = 1, note: str = "") -> None:
        super().advance(n, note)
        if self._clock() - self._shown >= self._interval:
            self._shown = self._clock()
            self._write(f"{self._share()}, {self._left()}")

    def close(self, finished: bool) -> None:
        spent = duration(self._clock() - self._start)
        self._write(f"done in {spent}" if finished else f"stopped after {spent}, {self._share()}")

    def _share(self) -> str:
        if not self.total:
            return f"{self.done:,.0f}"
        return f"{self.done:,.0f}/{self.total:,.0f} ({self.done / self.total:.0%})"

    def _left(self) -> str:
        spent = self._clock() - self._start
        if not self.total or not self.done:
            return f"{duration(spent)} so far"
        left = spent * max(self.total - self.done, 0) / self.done
        return f"{duration(spent)} so far, {duration(left)} left"

    def _write(self, text: str) -> None:
        note = f", {self.note}" if self.note else ""
        print(f"{self.description}: {text}{note}", file=self._stream, flush=True)


class _Display:
    """What `enable` turned on: none, a rich screen shared by nested work, or lines."""

    def __init__(self) -> None:
        self.enabled = False
        self.console: "Console | None" = None
        self.interval = 10.0
        self.clock: Callable[[], float] = time.monotonic
        self._screen: "Progress | None" = None
        self._open = 0

    def start(self, total: float | None, description: str) -> Tracker:
        if not self.enabled:
            return Tracker(total, description)
        from rich.console import Console
        from rich.progress import Progress

        console = self.console or Console(stderr=True)
        if not console.is_terminal:
            return _Lines(total, description, console.file, self.interval, self.clock)
        screen = self._screen or Progress(*_columns(), console=console)
        if self._screen is None:
            screen.start()
        self._screen = screen
        self._open += 1
        return _Bar(total, description, screen)

    def stop(self, tracker: Tracker, finished: bool) -> None:
        tracker.close(finished)
        if not isinstance(tracker, _Bar):
            return
        self._open -= 1
        if self._open == 0 and self._screen is not None:
            self._screen.stop()
            self._screen = None


_display = _Display()


def enable(
    console: "Console | None" = None,
    *,
    interval: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Show progress from now on; the command calls this, library code never does.

    Args:
        console: Where to draw; standard error by default, so that standard output stays clean.
        interval: Seconds between two lines where the console is not a terminal.
        clock: Source of seconds, for tests.
    """
    _display.enabled, _display.console = True, console
    _display.interval, _display.clock = interval, clock


def disable() -> None:
    """Show no progress from now on."""
    _display.enabled = False


@contextmanager
def track(total: float | None, description: str) -> Iterator[Tracker]:
    """Show the progress of a block of work, with the time left. Blocks may be nested.

    Example:
        >>> with track(3, "training networks") as progress:
        ...     for loss in (0.9, 0.5, 0.3):
        ...         progress.advance(note=f"loss {loss}")
        >>> progress.done
        3

    Args:
        total: Units of work, or none if unknown.
        description: What is being done.
    """
    tracker = _display.start(total, description)
    finished = False
    try:
        yield tracker
        finished = True
    finally:
        _display.stop(tracker, finished)


def duration(seconds: float) -> str:
    """Write a time span as people say it.

    Example:
        >>> duration(7.26), duration(95), duration(7380)
        ('7.3 s', '1:35 min', '2:03 h')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def _columns() -> tuple:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as TimeLeftColumn

    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeLeftColumn(),
        TextColumn("{task.fields[note]}"),
    )
