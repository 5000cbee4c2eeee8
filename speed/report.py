"""Write docs/performance.md and its figures from the records of the speed measurements.

python speed/report.py
"""

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from runner import CPU, LAP, RATIO, RESULTS, UNIT

from weightatlas.atomic import write_text
from weightatlas.results import Record, load_records
from weightatlas.tables import number

DOCS = Path(__file__).parent.parent / "docs"
TRAINING = "speed of population training"
BEST = "ratio to the best plain loop"
NUMBER = re.compile(r"(\w+)=(\d+)")


def sizes(record: Record) -> dict[str, int]:
    """Read the sizes out of what was measured: `networks=10` -> {"networks": 10}."""
    return {name: int(value) for name, value in NUMBER.findall(record.zoo)}


def shown(record: Record | None) -> str:
    """Print a value with its spread."""
    if record is None:
        return ""
    spread = "" if record.spread is None else f" ± {number(record.spread)}"
    return number(record.value) + spread


def lines_of(topic: str, records: Sequence[Record]) -> list[str]:
    """Make the table of one topic: a row per size and method, a column per number."""
    metrics = list(dict.fromkeys(r.metric for r in records))
    lines = [f"| what | method | {' | '.join(metrics)} |", "|---|---|" + "---:|" * len(metrics)]
    for key in dict.fromkeys((r.zoo, r.method) for r in records):
        own = {r.metric: r for r in records if (r.zoo, r.method) == key}
        cells = " | ".join(shown(own.get(metric)) for metric in metrics)
        lines.append(f"| {key[0]} | {key[1]} | {cells} |")
    return [f"## {topic[0].upper()}{topic[1:]}", "", *lines, ""]


def training_lines(records: Sequence[Record]) -> list[str]:
    """Make the table of population training: a row per network, a column per way to train."""
    ours = [r for r in records if r.metric in (BEST, CPU)]
    methods = list(dict.fromkeys(r.method for r in ours))
    lines = ["Ratio of wall time to the best plain loop (one thread or one per core, whichever is faster)."]
    lines += ["`auto` is what `train` and `zoo populate` use unless told otherwise.", ""]
    lines += [f"| network | {' | '.join(methods)} |", "|---|" + "---:|" * len(methods)]
    for zoo in dict.fromkeys(r.zoo for r in ours):
        own = {r.method: r for r in ours if r.zoo == zoo and r.metric == BEST}
        lines.append(f"| {zoo} | {' | '.join(shown(own.get(m)) for m in methods)} |")
    busy = [r.value for r in records if r.metric == "share of others"]
    if busy:
        lines += [
            "",
            f"Share of the processors that other programs used meanwhile: {number(median(busy))} (median).",
        ]
    return ["## Training a population", "", *lines, ""]


def exponent(points: Sequence[tuple[int, float]]) -> float:
    """Fit the slope of log(seconds) over log(size) by least squares."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    over = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return over / sum((x - mean_x) ** 2 for x in xs)


def curves(records: Sequence[Record]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Find where one size alone changes: (topic and fixed sizes, name of the size) -> seconds per call."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for r in records:
        if r.metric != LAP or not r.method.startswith("weightatlas"):
            continue
        for name, value in sizes(r).items():
            rest = re.sub(rf",? ?{name}={value}\b", "", r.zoo).strip(", ")
            label = ", ".join(part for part in (r.bench.removeprefix("speed: "), rest, r.method[13:]) if part)
            found.setdefault((label, name), {})[value] = r.value
    return {key: sorted(points.items()) for key, points in found.items() if len(points) > 1}


def figures(found: dict[tuple[str, str], list[tuple[int, float]]]) -> list[str]:
    """Draw one figure per size and list the fitted exponents."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    lines = ["## Cost against size", ""]
    lines += ["Seconds of a call; the exponent is the slope in the log-log plot, 1 means proportional.", ""]
    for name in dict.fromkeys(size for _, size in found):
        figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
        rows = [f"| by {name} | sizes | exponent |", "|---|---|---:|"]
        for (label, size), points in found.items():
            if size != name:
                continue
            slope = exponent(points)
            axes.loglog(*zip(*points, strict=True), "o-", label=f"{label}: {slope:.2f}")
            rows.append(f"| {label} | {', '.join(f'{x:,}' for x, _ in points)} | {slope:.2f} |")
        axes.set_xlabel(name)
        axes.set_ylabel("seconds")
        axes.legend(fontsize=7)
        path = DOCS / "figures" / f"speed-{name}.svg"
        path.parent.mkdir(exist_ok=True)
        with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
            figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
        lines += [f"![seconds against {name}](figures/{path.name})", "", *rows, ""]
    return lines


def page(records: Sequence[Record]) -> str:
    """Write the page."""
    last = records[-1]
    lines = [
        "# Performance",
        "",
        "Written by `python speed/report.py` from `results/speed.json`, which `make speed` measures.",
        f"Hardware: {last.hardware}. torch {last.versions.get('torch', '?')}.",
        "",
        "Every number is the median over turns and their standard deviation.",
        f"`{RATIO}` divides the seconds a plain implementation needs per unit by ours; both run in one",
        "process and take turns. The plain implementations stand beside the measurements in `speed/`.",
        "",
    ]
    training = [r for r in records if r.bench == TRAINING]
    if training:
        lines += training_lines(training)
    for bench in dict.fromkeys(r.bench for r in records if r.bench != TRAINING):
        lines += lines_of(
            bench.removeprefix("speed: "), [r for r in records if r.bench == bench and r.metric != UNIT]
        )
    found = curves(records)
    return "\n".join([*lines, *(figures(found) if found else [])])


def main() -> None:
    """Read the records, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=DOCS / "performance.md")
    args = parser.parse_args()
    write_text(args.out, page(load_records(args.results)))
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
