"""Ctrl-C between steps instead of inside one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class Interrupt:
    """Whether the user asked to stop."""

    wanted: bool = False


@contextmanager
def polite_interrupts() -> Iterator[Interrupt]:
    """Turn the first Ctrl-C into a wish that is granted after the current step.

    A second Ctrl-C interrupts at once. Outside the main thread, signals are left alone.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def ask(_number: int, _frame: FrameType | None) -> None:
        if interrupt.wanted:
            raise KeyboardInterrupt
        interrupt.wanted = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
