"""Time and wishes to stop, on which all processes of a training agree."""

import time

from weightatlas.processes import ALONE, Processes


class Clock:
    """Seconds of a run; with several processes those of the slowest, read once per step.

    Example:
        >>> clock = Clock(earlier=60.0)
        >>> clock.tick(stop=False), clock.seconds >= 60, clock.here < 60
        (False, True, True)

    Args:
        processes: Those that train together.
        earlier: Seconds of earlier calls of the run.
    """

    def __init__(self, processes: Processes = ALONE, earlier: float = 0.0) -> None:
        self.processes, self.earlier = processes, earlier
        self._started, self._agreed = time.monotonic(), 0.0

    @property
    def here(self) -> float:
        """Seconds of this call."""
        return self._agreed if self.processes.count > 1 else time.monotonic() - self._started

    @property
    def seconds(self) -> float:
        """Seconds of the run, earlier calls included."""
        return self.earlier + self.here

    def tick(self, stop: bool) -> bool:
        """Read the clock, and return whether any process wishes to stop."""
        own = time.monotonic() - self._started
        self._agreed, wish = self.processes.largest([own, float(stop)])
        return bool(wish)
