"""Time ours against a plain implementation, lap by lap in turns, and keep the ratios as records.

Both run in one process and take turns, so that whatever else the machine does meets both alike. The ratio
is the plain seconds per unit over ours: median and standard deviation over the turns. Beside wall time stands
the processor time of this process, which other programs disturb less.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, stdev

from weightatlas.results import Record, append_records, new_peak, peak_mb, stamped
from weightatlas.tables import table

RESULTS = Path(__file__).parent.parent / "results" / "speed.json"
RATIO, CPU, UNIT, LAP = (
    "ratio to plain",
    "ratio in processor time",
    "milliseconds per unit",
    "seconds per call",
)
Work = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One thing that is done in two ways.

    Args:
        topic: What is done.
        size: On what, with its sizes as `name=number`.
        ours: Does it for `units`.
        plain: Does it for `plain_units`, straightforwardly.
        plain_name: What the plain way is.
        units: How many things one call of `ours` does.
        plain_units: How many one call of `plain` does; as many if none.
    """

    topic: str
    size: str
    ours: Work
    plain: Work
    plain_name: str
    units: int = 1
    plain_units: int | None = None


@dataclass(frozen=True)
class Lap:
    """Seconds of one call, processor seconds of this process, and the most memory it held meanwhile."""

    wall: float
    cpu: float
    peak: float


def lap(work: Work) -> Lap:
    """Time one call."""
    new_peak()
    start, own = time.perf_counter(), time.process_time()
    work()
    return Lap(time.perf_counter() - start, time.process_time() - own, peak_mb())


def measure(case: Case, repeats: int) -> list[Record]:
    """Warm both up, let them take turns, and return the records.

    Args:
        case: What to time.
        repeats: Turns.
    """
    case.ours()
    case.plain()
    turns = [(lap(case.ours), lap(case.plain)) for _ in range(repeats)]
    share = case.units / (case.plain_units or case.units)
    numbers = {
        ("weightatlas", RATIO): [share * plain.wall / max(own.wall, 1e-9) for own, plain in turns],
        ("weightatlas", CPU): [share * plain.cpu / max(own.cpu, 1e-6) for own, plain in turns],
        ("weightatlas", UNIT): [1e3 * own.wall / case.units for own, _ in turns],
        ("weightatlas", LAP): [own.wall for own, _ in turns],
        (case.plain_name, UNIT): [1e3 * share * plain.wall / case.units for _, plain in turns],
    }
    peaks = {
        "weightatlas": max(own.peak for own, _ in turns),
        case.plain_name: max(plain.peak for _, plain in turns),
    }
    return [record(case.topic, case.size, *key, values, peaks[key[0]]) for key, values in numbers.items()]


def record(
    topic: str, size: str, method: str, metric: str, values: Sequence[float], peak: float | None = None
) -> Record:
    """Make a record of several laps: their median and standard deviation.

    Without the peak of these laps, `keep` fills in that of the process.
    """
    return Record.build(
        {
            "bench": f"speed: {topic}",
            "tier": "laptop",
            "zoo": size,
            "method": method,
            "kind": "ours" if method == "weightatlas" else "baseline",
            "metric": metric,
            "value": median(values),
            "spread": stdev(values) if len(values) > 1 else None,
            "split": "none",
            "n": len(values),
            "peak_mb": None if peak is None else round(peak, 1),
        }
    )


def options(doc: str | None) -> argparse.Namespace:
    """Read the command line that all scripts share."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns of every case")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results file")
    return parser.parse_args()


def run(cases: Iterable[Case], repeats: int, out: Path, command: str) -> None:
    """Measure cases as they come, keep every record at once, print a line for each."""
    for case in cases:
        keep(measure(case, repeats), out, command)


def keep(records: list[Record], out: Path, command: str) -> None:
    """Add records to the results file and print them."""
    from rich.console import Console

    append_records(out, stamped(records, command))
    Console().print(
        table(records, rows="method", columns="metric", title=f"{records[0].bench}, {records[0].zoo}")
    )
