"""Damage checkpoints at random for minutes and read them: `python -m tests.fuzz_readers --minutes 10`.

Each round runs in a process of its own under the eye of this one: a crash, a read of more than 10 seconds,
a peak of more than 1 GiB above the start, or any code that runs is reported with the number that repeats it
(`--only NUMBER`). The exit code is 1 if there was one.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

_SECONDS = 10.0
_ROUND = 2000
_MEGABYTES = 1024


def peak() -> float:
    """Peak memory of this process and of the largest child, in MB."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def work(seed: int, start: int, count: int, out: Connection) -> None:
    """Read damaged files and send (number, outcome, seconds, MB above the start)."""
    import torch

    from tests.weights.files.fuzz import Fuzz, watch

    torch.set_num_threads(1)
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(Path(folder), seed)
        base = peak()
        watch(problems.append)
        for number in range(start, start + count):
            out.send((number, "", 0.0, 0.0))
            began = time.monotonic()
            try:
                outcome = fuzz.one(number)
                outcome = (
                    f"PROBLEM {outcome}"[:300] if outcome.startswith("UNFORESEEN") else outcome.split(":")[0]
                )
            except BaseException as error:
                outcome = f"PROBLEM {type(error).__name__}: {str(error)[:300]}"
            if problems or fuzz.trap.exists():
                outcome = f"PROBLEM code ran: {problems[:3]} {fuzz.trap.exists()}"
                problems.clear()
            out.send((number, outcome, time.monotonic() - began, peak() - base))
        out.send(None)


def round_of(
    seed: int, start: int, count: int, counts: Counter[str], problems: list[str]
) -> tuple[int, float, float]:
    """Run one process; returns the next number, the longest read and the highest memory."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(seed, start, count, send))
    process.start()
    send.close()
    current, longest, highest, patience = start, 0.0, 0.0, 120.0
    while True:
        try:
            message = receive.recv() if receive.poll(patience) else "hang"
        except EOFError:
            message = "crash"
        if message is None:
            break
        if isinstance(message, str):
            problems.append(f"{current}: {message} (exit code {process.exitcode})")
            process.kill()
            break
        current, outcome, seconds, memory = message
        patience = _SECONDS + 5
        if not outcome:
            continue
        counts[outcome if not outcome.startswith("PROBLEM") else "PROBLEM"] += 1
        longest, highest = max(longest, seconds), max(highest, memory)
        if outcome.startswith("PROBLEM"):
            problems.append(f"{current}: {outcome}")
        if seconds > _SECONDS:
            problems.append(f"{current}: took {seconds:.1f} s")
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
        round_of(options.seed, options.only, 1, counts, problems)
        print(dict(counts), problems)
        return int(bool(problems))
    while time.monotonic() < until:
        number, seconds, memory = round_of(options.seed, number, _ROUND, counts, problems)
        longest, highest = max(longest, seconds), max(highest, memory)
        print(f"{sum(counts.values())} files {dict(counts)}", flush=True)
        print(f"  longest read {longest:.2f} s, highest peak {highest:.0f} MB above the start", flush=True)
        for problem in problems:
            print(f"  {problem}", flush=True)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
