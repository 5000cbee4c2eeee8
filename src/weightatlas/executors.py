"""Where independent pieces of work run: one protocol, chosen by name."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar, cast

from weightatlas import runtime
from weightatlas.registry import Registry

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
        """Yield `fn(task)` for every task, in order of completion."""
        from joblib import Parallel, delayed

        run = Parallel(self.workers, backend="loky", return_as="generator_unordered", batch_size=1)  # pyright: ignore[reportArgumentType]
        results = run(delayed(_single_thread)(fn, task) for task in tasks)
        return cast("Iterator[Result]", results)


def create_executor(executor: "str | Executor", **options: Any) -> "Executor":
    """Return an executor by name, or the given one."""
    return executors.create(executor, **options) if isinstance(executor, str) else executor


def _single_thread(fn: Callable[[Piece], Result], task: Piece) -> Result:
    with runtime.threads(1):
        return fn(task)
