"""Find the fastest of several ways to do the same, on a machine that does other things too."""

import time
from collections.abc import Callable, Mapping

import torch

ROUNDS = 5
SECONDS = 3.0  # after which no further round starts
BEHIND = 2.0  # who is this much slower than the best leaves early


def clock_for(device: torch.device, workers: int) -> Callable[[], float]:
    """Choose a clock: processor time, which others do not disturb, where all work is in this thread."""
    if device.type == "cpu" and workers == 1 and torch.get_num_threads() == 1:
        return time.thread_time
    if device.type != "cuda":
        return time.perf_counter

    def synchronized() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return synchronized


def race(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[str, dict[str, float]]:
    """Let all take turns and compare their best times; who is hopeless after a round leaves.

    Example:
        >>> race({"only": lambda: None})[0]
        'only'

    Args:
        contestants: Name -> what to run; warmed up.
        rounds: Turns at most.
        clock: Tells the seconds.

    Returns:
        The winner's name, and the seconds of everyone's best lap.
    """
    best = dict.fromkeys(contestants, float("inf"))
    running, began = list(contestants), time.perf_counter()
    for _ in range(rounds):
        for name in running:
            start = clock()
            contestants[name]()
            best[name] = min(best[name], clock() - start)
        limit = BEHIND * min(best.values())
        running = [name for name in running if best[name] <= limit]
        if len(running) < 2 or time.perf_counter() - began > SECONDS:
            break
    return min(best, key=best.__getitem__), best
