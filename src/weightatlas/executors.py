"""Where independent pieces of work run: one protocol, chosen by name."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar, cast

from weightatlas import runtime
from weightatlas.errors import RunError
from weightatlas.registry import Registry

AGAIN = "Run the same command again: what is finished is kept."
Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs a function over tasks and yields results as they finish, in any order."""

    workers: int

    def map(self, fn: Callable[[Piece], Result], tasks: Iterable[Piece]) -> Iterator[Result]:
        """Yield `fn(task)` for every task, in order of completion."""
        ...


executors: "Registry[Executor]" = Registry("executor")


@executors.register("serial")
class SerialExecutor:
    """One task after the other, in this process.

    Example:
        >>> list(SerialExecutor().map(abs, [-1, 2]))
        [1, 2]
    """

    workers = 1

    def map(self, fn: Callable[[Piece], Result], tasks: Iterable[Piece]) -> Iterator[Result]:
        """Yield `fn(task)` for every task, in the given order."""
        return (fn(task) for task in tasks)


@executors.register("processes")
class ProcessExecutor:
    """Worker processes with one torch thread each.

    Args:
        workers: Number of processes; all cores if none.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or runtime.cores()

    def map(self, fn: Callable[[Piece], Result], tasks: Iterable[Piece]) -> Iterator[Result]:
        """Yield `fn(task)` for every task, in order of completion.

        Raises:
            RunError: A worker died, for example because memory ran out.
        """
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        run = Parallel(self.workers, backend="loky", return_as="generator_unordered", batch_size=1)  # pyright: ignore[reportArgumentType]
        results = run(delayed(_single_thread)(fn, task) for task in tasks)
        try:
            yield from cast("Iterator[Result]", results)
        except TerminatedWorkerError as error:
            raise RunError(f"A worker process died: {str(error).splitlines()[0]}", todo=AGAIN) from None


def create_executor(executor: "str | Executor", **options: Any) -> "Executor":
    """Return an executor by name ("serial", "processes", "ray", "slurm"), or the given one.

    Raises:
        ConfigError: The name is unknown, the executor refuses an option, or its package is missing.
    """
    if not isinstance(executor, str):
        return executor
    from weightatlas import clusters  # noqa: F401 (registers its executors)

    return executors.create(executor, **options)


def _single_thread(fn: Callable[[Piece], Result], task: Piece) -> Result:
    with runtime.threads(1):
        return fn(task)
