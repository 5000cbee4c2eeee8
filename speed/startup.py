"""Starting: import of the package beside import of torch, and --help beside an empty Python."""

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


def main() -> None:
    """Start every program in turns."""
    args = options(__doc__)
    laps: dict[str, list[float]] = {name: [] for name in CALLS}
    for turn in range(2 if args.quick else args.repeats + 1):
        for name, words in CALLS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            if turn:  # the first turn fills the disk cache
                laps[name].append(time.perf_counter() - start)
    base = {"every public name": "import torch", "import torch, then weightatlas": "import torch"}
    for name, values in laps.items():
        other = median(laps[base.get(name, "empty program")])
        records = [record("start", name, "weightatlas", "seconds per call", values)]
        records.append(
            record("start", name, "weightatlas", "seconds above its base", [v - other for v in values])
        )
        keep(records, args.out, "python speed/startup.py")


if __name__ == "__main__":
    main()
