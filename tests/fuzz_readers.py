"""Read damaged, crafted and costly checkpoints for minutes: `make fuzz` or `python -m tests.fuzz_readers`.

First small files that ask for a lot of work, then valid files of every format with damaged bytes, and between
them files that hypothesis makes in the grammar of a format. Each round runs in a process of its own that the
system gives 1 GiB more than it has at the start: a crash, a file that takes more than 10 seconds of processor
time, one that asks for more memory, or any code that runs is reported with the number that repeats it
(`--only NUMBER`). The exit code is 1 if there was one.
"""

import argparse
import math
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

_SECONDS = 10.0  # processor time, which other programs do not use up
_PATIENCE = 120.0  # seconds by the clock without a word
_ROUND = 2000
_MEGABYTES = 1024


def peak() -> float:
    """Peak memory of this process and of the largest child, in MB."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def spent() -> float:
    """Processor seconds of this process and of its children."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in both)


def limit_memory() -> None:
    """Let this process have 1 GiB more than it has."""
    lines = Path("/proc/self/status").read_text().splitlines()
    now = next(int(line.split()[1]) for line in lines if line.startswith("VmData"))
    most = (now << 10) + (_MEGABYTES << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def work(seed: int, start: int, count: int, out: Connection) -> None:
    """Read the files of some numbers and send (number, outcomes, seconds of each, MB above the start)."""
    import torch

    from tests.weights.files.crafted import crafted
    from tests.weights.files.fuzz import Fuzz, watch

    torch.set_num_threads(1)
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(Path(folder), seed)
        crafted(seed)  # hypothesis makes its tables
        watch(problems.append)
        fuzz.read("warm.pt", fuzz.fast[min(fuzz.fast)])
        if sys.platform == "linux":
            limit_memory()
        for number in range(start, start + count):
            out.send((number, None, 0.0, 0.0))
            cases = fuzz.cases(number)
            base = peak()  # a costly file is made here, not by its reader
            for name, data in cases:
                began = spent()
                try:
                    outcome = fuzz.read(name, data)
                    outcome = (
                        f"PROBLEM {outcome}"[:300] if outcome.startswith("UNF") else outcome.split(":")[0]
                    )
                except BaseException as error:
                    outcome = f"PROBLEM {type(error).__name__}: {str(error)[:300]}"
                if problems or fuzz.trap.exists():
                    outcome = f"PROBLEM code ran: {problems[:3]} {fuzz.trap.exists()}"
                    problems.clear()
                out.send((number, outcome, spent() - began, peak() - base))
        out.send(None)


def round_of(
    seed: int, start: int, count: int, counts: Counter[str], problems: list[str], until: float
) -> tuple[int, float, float]:
    """Run one process until the time is over: the next number, the longest read, the highest memory."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(seed, start, count, send))
    process.start()
    send.close()
    current, longest, highest = start, 0.0, 0.0
    while True:
        try:
            message = receive.recv() if receive.poll(_PATIENCE) else "hang"
        except EOFError:
            message = "crash"
        if message is None:
            break
        if isinstance(message, str):
            problems.append(f"{current}: {message} (exit code {process.exitcode})")
            process.kill()
            break
        current, outcome, seconds, memory = message
        if outcome is None and time.monotonic() > until:
            process.kill()
            break
        if outcome is None:
            continue
        counts[outcome if not outcome.startswith("PROBLEM") else "PROBLEM"] += 1
        longest, highest = max(longest, seconds), max(highest, memory)
        if outcome.startswith("PROBLEM"):
            problems.append(f"{current}: {outcome}")
        if seconds > _SECONDS:
            problems.append(f"{current}: took {seconds:.1f} s of processor time")
        if memory > _MEGABYTES:
            problems.append(f"{current}: took {memory:.0f} MB")
            process.kill()
            break
    process.join()
    return current + 1, longest, highest


def main() -> int:
    """Run until the time is over and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--only", type=int, help="repeat one damaged file")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    problems: list[str] = []
    until = time.monotonic() + 60 * options.minutes
    number, longest, highest = options.start, 0.0, 0.0
    if options.only is not None:
        round_of(options.seed, options.only, 1, counts, problems, math.inf)
        print(dict(counts), problems)
        return int(bool(problems))
    while time.monotonic() < until:
        number, seconds, memory = round_of(options.seed, number, _ROUND, counts, problems, until)
        longest, highest = max(longest, seconds), max(highest, memory)
        print(f"{sum(counts.values())} files {dict(counts)}", flush=True)
        print(
            f"  longest read {longest:.2f} s, highest peak {highest:.0f} MB above that before the file",
            flush=True,
        )
        for problem in problems:
            print(f"  {problem}", flush=True)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
