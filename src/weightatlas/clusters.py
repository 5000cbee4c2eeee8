"""Executors for clusters: Ray, and SLURM through submitit; both also run on one machine."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from weightatlas import runtime
from weightatlas.errors import ConfigError, RunError, WeightAtlasError
from weightatlas.executors import AGAIN, carried, executors

Piece = TypeVar("Piece")
Result = TypeVar("Result")
_END: Any = object()


@executors.register("ray")
class RayExecutor:
    """Ray Core: a running cluster if one is named, else workers on this machine.

    A task whose worker dies is started again by Ray, three times at most.

    Args:
        workers: Tasks at a time; all cores of a local cluster, 1,000 on a named one, if none.
        address: Address of a cluster; `RAY_ADDRESS` or a local one if none.
        gpus: GPUs, or share of one, that a task needs.
    """

    def __init__(self, workers: int | None = None, address: str | None = None, gpus: float = 0.0) -> None:
        _need("ray", "ray")
        import os

        self.gpus = gpus
        self.address = address or os.environ.get("RAY_ADDRESS")
        self.workers = workers or (1000 if self.address else runtime.cores())

    def map(self, fn: Callable[[Piece], Result], tasks: Iterable[Piece]) -> Iterator[Result]:
        """Yield `fn(task)` for every task, in order of completion."""
        import ray

        started = not ray.is_initialized()
        if started:
            local: dict[str, Any] = {} if self.address else {"num_cpus": self.workers}
            ray.init(address=self.address, include_dashboard=False, log_to_driver=False, **local)
        remote, call = ray.remote(num_cpus=1, num_gpus=self.gpus, max_retries=3)(guarded), carried(fn)
        try:
            yield from _in_flight(
                tasks,
                self.workers,
                submit=lambda task: remote.remote(call, task),
                finished=lambda jobs: ray.wait(jobs, timeout=1.0)[0],
                result=lambda job: _opened(_got(ray, job)),
                cancel=ray.cancel,
            )
        finally:
            if started:
                ray.shutdown()


@executors.register("slurm")
class SlurmExecutor:
    """SLURM jobs through submitit; without SLURM, processes on this machine.

    Args:
        workers: Jobs at a time; 100 on SLURM, one per core without, if none.
        cluster: "slurm" or "local"; found out if none.
        folder: Where logs and results of jobs are kept; every machine must see it.
        timeout_min: Minutes a job may take.
        cpus_per_task: Cores of a job.
        options: Further options of submitit, such as `slurm_partition`.
    """

    def __init__(
        self,
        workers: int | None = None,
        cluster: str | None = None,
        folder: str | Path = "runs/slurm",
        timeout_min: int = 240,
        cpus_per_task: int = 1,
        **options: Any,
    ) -> None:
        _need("submitit", "slurm")
        import submitit

        self._executor = submitit.AutoExecutor(folder=Path(folder), cluster=cluster)
        on_slurm = self._executor.cluster == "slurm"
        self.workers = workers or (100 if on_slurm else runtime.cores())
        try:
            self._executor.update_parameters(timeout_min=timeout_min, cpus_per_task=cpus_per_task, **options)
        except (NameError, TypeError) as error:
            raise ConfigError(
                f"submitit refuses an option: {error}", todo="Options of SLURM start with slurm_."
            ) from None

    def map(self, fn: Callable[[Piece], Result], tasks: Iterable[Piece]) -> Iterator[Result]:
        """Yield `fn(task)` for every task, in order of completion."""
        call = carried(fn)
        yield from _in_flight(
            tasks,
            self.workers,
            submit=lambda task: self._executor.submit(guarded, call, task),
            finished=_done,
            result=lambda job: _opened(_outcome(job)),
            cancel=lambda job: job.cancel(),
        )


def guarded(fn: Callable[[Piece], Result], task: Piece) -> tuple[Result | None, WeightAtlasError | None]:
    """Call a function with one torch thread, and hand over a named error as a value."""
    with runtime.threads(1):
        try:
            return fn(task), None
        except WeightAtlasError as error:
            return None, error


def _in_flight(
    tasks: Iterable[Piece],
    most: int,
    submit: Callable[[Piece], Any],
    finished: Callable[[list[Any]], list[Any]],
    result: Callable[[Any], Result],
    cancel: Callable[[Any], object],
) -> Iterator[Result]:
    """Keep at most so many jobs running and yield results as they come; an early end cancels the rest."""
    waiting, running = iter(tasks), []
    try:
        while True:
            while len(running) < most and (task := next(waiting, _END)) is not _END:
                running.append(submit(task))
            if not running:
                return
            for job in finished(running):
                running.remove(job)
                yield result(job)
    finally:
        for job in running:
            with suppress(Exception):  # a cluster that cannot be reached must not hide why the work ended
                cancel(job)


def _done(jobs: list[Any]) -> list[Any]:
    """Wait until a submitit job has finished."""
    while True:
        found = [job for job in jobs if job.done()]
        if found:
            return found
        time.sleep(0.2)


def _got(ray: Any, job: Any) -> tuple[Any, WeightAtlasError | None]:
    try:
        return ray.get(job)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        raise RunError(f"A Ray worker died: {error}.", todo=AGAIN) from None


def _outcome(job: Any) -> tuple[Any, WeightAtlasError | None]:
    """Fetch what a submitit job returned."""
    from submitit.core.utils import UncompletedJobError

    try:
        return job.result()
    except UncompletedJobError as error:
        lines = str(error).strip().splitlines() or ["no message"]
        what = f"Job {job.job_id} ended without a result: {lines[0]}"
        raise RunError(what, where=f"Log: {job.paths.stderr}", todo=AGAIN) from None


def _opened(outcome: tuple[Any, WeightAtlasError | None]) -> Any:
    value, error = outcome
    if error is not None:
        raise error
    return value


def _need(module: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ConfigError(
            f"This executor needs the package '{module}'.", todo=f"pip install 'weightatlas[{extra}]'"
        )
