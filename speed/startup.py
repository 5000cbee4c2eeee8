"""Starting: import of the package beside import of torch, and --help beside an empty Python."""

import os
import subprocess
import sys
import time
from statistics import median

from runner import keep, options, record

CALLS = {
    "empty program": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "import weightatlas": ["-c", "import weightatlas"],
    "import torch, then weightatlas": ["-c", "import torch, weightatlas"],
    "every public name": ["-c", "import torch, weightatlas as w; [getattr(w, n) for n in w.__all__]"],
    "weightatlas --help": ["-m", "weightatlas", "--help"],
    "weightatlas zoo populate --help": ["-m", "weightatlas", "zoo", "populate", "--help"],
    "weightatlas fit sane --help": ["-m", "weightatlas", "fit", "sane", "--help"],
}


def run(words: list[str]) -> float:
    """Run one program to its end, and return the most memory it held, in megabytes."""
    quiet = subprocess.DEVNULL
    child = subprocess.Popen([sys.executable, *words], stdout=quiet, stderr=quiet)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, words)
    return used.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Start every program in turns."""
    args = options(__doc__)
    laps: dict[str, list[float]] = {name: [] for name in CALLS}
    peaks: dict[str, float] = {}
    for turn in range(2 if args.quick else args.repeats + 1):
        for name, words in CALLS.items():
            start = time.perf_counter()
            peak = run(words)
            if turn:  # the first turn fills the disk cache
                laps[name].append(time.perf_counter() - start)
                peaks[name] = max(peak, peaks.get(name, 0.0))
    base = {"every public name": "import torch", "import torch, then weightatlas": "import torch"}
    for name, values in laps.items():
        other = median(laps[base.get(name, "empty program")])
        records = [record("start", name, "weightatlas", "seconds per call", values, peaks[name])]
        above = [value - other for value in values]
        records.append(record("start", name, "weightatlas", "seconds above its base", above, peaks[name]))
        keep(records, args.out, "python speed/startup.py")


if __name__ == "__main__":
    main()
