"""Where independent pieces of work run: one protocol, chosen by name."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from weightatlas import runtime
from weightatlas.errors import RunError
from weightatlas.registry import Registry

AGAIN = "Run the same command again: what is finished is kept."
DATA = "WEIGHTATLAS_DATA"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs a function over tasks and yields results as they finish, in any order."""

    workers: int

    def map(self, fn: Callable[[Piece], Result], tasks: Iterable[Piece]) -> Iterator[Result]:
        """Yield `fn(task)` for every task, in order of completion."""
        ...


@dataclass(frozen=True)
class Surroundings:
    """What a task finds around it that is no argument: where it began, the data folder, the memory budget.

    Workers of a cluster were started by somebody else, and reused processes earlier; neither has what this
    process was told.

    Example:
        >>> with Surroundings("/", {"WEIGHTATLAS_MEMORY_MB": "100"}).entered():
        ...     runtime.memory_budget(), os.getcwd()
        (100.0, '/')

    Args:
        folder: Working folder, to which relative paths belong.
        variables: Environment variables. The worker's own number of threads comes first.
    """

    folder: str
    variables: Mapping[str, str]

    @classmethod
    def here(cls) -> "Surroundings":
        """Write down those of this process."""
        found = {name: os.environ[name] for name in (DATA, runtime.MEMORY, *THREADS) if name in os.environ}
        if found.get(DATA):
            found[DATA] = str(Path(found[DATA]).absolute())
        return cls(os.getcwd(), found)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Work in the folder, if there is one of this name on this machine, and with the variables."""
        kept = {name for name in THREADS if name in os.environ}
        changed = {name: value for name, value in self.variables.items() if name not in kept}
        before = {name: os.environ.get(name) for name in changed}
        os.environ.update(changed)
        try:
            with chdir(self.folder) if os.path.isdir(self.folder) else nullcontext():
                yield
        finally:
            os.environ.update({name: value for name, value in before.items() if value is not None})
            for name in [name for name, value in before.items() if value is None]:
                del os.environ[name]


def carried(fn: Callable[[Piece], Result]) -> Callable[[Piece], Result]:
    """Return a function that another process calls with the surroundings of this one.

    Example:
        >>> carried(abs)(-2)
        2
    """
    return partial(_surrounded, Surroundings.here(), fn)


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
        call = carried(fn)
        results = run(delayed(_single_thread)(call, task) for task in tasks)
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


def _surrounded(around: Surroundings, fn: Callable[[Piece], Result], task: Piece) -> Result:
    with around.entered():
        return fn(task)


def _single_thread(fn: Callable[[Piece], Result], task: Piece) -> Result:
    with runtime.threads(1):
        return fn(task)
