"""The command as one of several processes that train together: one of them speaks."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from weightatlas.errors import ConfigError


def is_one_of_several() -> bool:
    """Say whether a launcher (`accelerate launch`, `torchrun`) or `--processes` has started several of us."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


@contextmanager
def one_voice(verb: str) -> Iterator[None]:
    """Let only one process on each machine print.

    Raises:
        ConfigError: The verb does its work in one process.
    """
    if not is_one_of_several():
        yield
        return
    from weightatlas.processes import is_quiet, leave

    if verb.split()[0] != "fit":
        raise ConfigError(
            f"Only 'fit' shares its work between processes, '{verb}' does not.",
            where=f"{os.environ['WORLD_SIZE']} processes were started.",
            todo=f"Run it without a launcher: weightatlas {verb} ...",
        )
    if not is_quiet():
        yield
    else:
        logging.getLogger("weightatlas").setLevel(logging.CRITICAL)
        with open(os.devnull, "w", encoding="utf-8") as no, redirect_stdout(no), redirect_stderr(no):
            yield
    leave()


def is_unspoken(error: BaseException) -> bool:
    """Say whether another process names an error that this one has met too."""
    if not is_one_of_several():
        return False
    from weightatlas.processes import is_quiet

    return is_quiet(error)


def check(processes: int, executor: str) -> None:
    """Refuse what cannot be.

    Args:
        processes: Wanted for one training.
        executor: Where the runs of a sweep are trained.

    Raises:
        ConfigError: There are fewer than one, or an executor would start processes inside each of them.
    """
    if processes < 1:
        raise ConfigError(f"--processes {processes} trains nothing.", todo="Start one or more.")
    if (processes > 1 or is_one_of_several()) and executor != "serial":
        raise ConfigError(
            f"Several processes train one run after the other, and --executor {executor} runs side by side.",
            todo="Leave one of the two out.",
        )


def start(words: Sequence[str], processes: int) -> int:
    """Start this command in several processes on this machine, and wait for them.

    Args:
        words: What follows `weightatlas fit`.
        processes: How many.

    Returns:
        Their exit code.
    """
    from weightatlas import runtime
    from weightatlas.processes import launch

    loud = ["--verbose"] if logging.getLogger("weightatlas").level == logging.INFO else []
    command = [sys.executable, "-m", "weightatlas", "fit", *words, *loud]
    return launch(command, processes, runtime.cores())
