"""Crews: threads that work side by side, each with one torch thread of its own."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_pools: dict[int, ThreadPoolExecutor] = {}


def side_by_side(work: Callable[[Any], Any], jobs: Iterable[Any], workers: int) -> list[Any]:
    """Do all jobs without gradients on `workers` threads and return the results in order.

    Kernels here are small: one thread per block of networks loses far less than all threads
    on each operation. Torch lets go of the interpreter lock inside its kernels.

    Example:
        >>> side_by_side(lambda x: x + 1, [1, 2], workers=2)
        [2, 3]

    Args:
        work: What to do with a job; must not share buffers between threads.
        jobs: The jobs.
        workers: Number of threads; 1 works in the calling thread.
    """
    jobs = list(jobs)

    def quiet(job: Any) -> Any:
        with torch.no_grad():
            return work(job)

    if workers <= 1 or len(jobs) <= 1:
        return [quiet(job) for job in jobs]
    if workers not in _pools:
        _pools[workers] = ThreadPoolExecutor(workers, "weightatlas", torch.set_num_threads, (1,))
    return list(_pools[workers].map(quiet, jobs))
