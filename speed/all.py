"""Run every speed measurement, one after the other, and write docs/performance.md from the records.

    python speed/all.py            everything, within 15 minutes on two idle cores
    python speed/all.py --quick    tiny sizes, to see that everything runs; records go to a temporary file

A script that fails or runs over its time is named at the end; the others are measured all the same.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
SHORT = [
    "--batch",
    "8",
    "--repeats",
    "5",
    "--encoders",
    "sne",
    "nfn_hnp",
    "nfn_np",
    "neural_graph",
    "stat_nn",
]
OPTIONS = {"encoders": SHORT, "netspace": ["--repeats", "3"]}
SCRIPTS = {  # name -> seconds it may take
    "products": 60,
    "startup": 90,
    "weights": 60,
    "zoos": 60,
    "latent": 60,
    "kinship": 90,
    "forward": 90,
    "autoencoder": 180,
    "netspace": 60,
    "encoders": 90,
    "population": 500,
}


def main() -> int:
    """Run the scripts and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--only", nargs="*", default=list(SCRIPTS), help="scripts to run")
    args = parser.parse_args()
    failed, began = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        extra = ["--quick", "--repeats", "2", "--out", str(Path(folder) / "speed.json")] if args.quick else []
        for name in args.only:
            print(f"--- {name} ({time.perf_counter() - began:.0f} s)", flush=True)
            try:
                command = [sys.executable, str(HERE / f"{name}.py"), *OPTIONS.get(name, []), *extra]
                subprocess.run(command, check=True, timeout=SCRIPTS[name])
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                failed.append(f"{name}: {error}")
        if not args.quick:
            subprocess.run([sys.executable, str(HERE / "report.py")], check=True)
    print(f"all measured in {time.perf_counter() - began:.0f} s")
    for line in failed:
        print(f"FAILED {line}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
