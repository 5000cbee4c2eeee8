"""Ctrl-C between steps instead of inside one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from weightatlas.processes import launched


@dataclass(slots=True)
class Interrupt:
    """Whether the user asked to stop."""

    wanted: bool = False


@contextmanager
def polite_interrupts() -> Iterator[Interrupt]:
    """Turn the first Ctrl-C into a wish that is granted after the current step.

    A second Ctrl-C interrupts at once. Launchers of several processes pass it on as SIGTERM, then the same
    wish. Outside the main thread, signals are left alone.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def ask(_number: int, _frame: FrameType | None) -> None:
        if interrupt.wanted:
            raise KeyboardInterrupt
        interrupt.wanted = True

    def end(_number: int, _frame: FrameType | None) -> None:
        interrupt.wanted = True

    before = {signal.SIGINT: signal.signal(signal.SIGINT, ask)}
    if launched() > 1:
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, end)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
