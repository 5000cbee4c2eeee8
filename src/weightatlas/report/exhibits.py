"""Figures of a bench from its records alone: distributions, trainings, sizes, frontiers of generators."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weightatlas.atomic import write_text
from weightatlas.report import svg
from weightatlas.report.frontier import draw_reaches, draw_spots, frontier_of
from weightatlas.report.maps import draw_maps
from weightatlas.results import Record, summarize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_AT = re.compile(r"^(?P<name>.+) at (?P<percent>[\d.]+) %$")
_AFTER = re.compile(r"^(?P<name>.+) after (?:pass )?(?P<turn>\d+)$")
_WITH = re.compile(r"^(?P<name>.+) with (?P<turn>\d+) networks$")
_BOX = (5.0, 25.0, 50.0, 75.0, 95.0)
_ROW = 3  # panels side by side

Table = dict[str, dict[str, dict[float, float]]]
"""Number -> method -> percentage or turn -> value."""


def draw(records: Sequence[Record], label: str) -> str | None:
    """Draw all distributions and curves of a bench, a panel per number; none if it has neither.

    Args:
        records: Of one bench; seeds are averaged, published ones left out.
        label: What the figure shows, for those who cannot see it.
    """
    own = summarize(record for record in records if record.kind != "published")
    boxes, curves = gathered(own, _AT, "percent"), gathered(own, _AFTER, "turn")
    boxes = {name: rows for name, rows in boxes.items() if all(set(_BOX) <= set(q) for q in rows.values())}
    grown = gathered(own, _WITH, "turn")
    curves = apart({**curves, **grown})
    curves = {name: rows for name, rows in curves.items() if max(len(turns) for turns in rows.values()) > 1}
    if not boxes and not curves:
        return _frontier(own, label)
    count = len(boxes) + len(curves)
    wide, lines = min(count, _ROW), -(-count // _ROW)
    tall = max([1.2 + 0.42 * len(rows) for rows in boxes.values()], default=0.0)
    tall = max([tall, *(3.0 + 0.2 * len(rows) for rows in curves.values())])
    with svg.style():
        figure, panels = svg.panels(count, max(4.6 * wide, 7.0), lines * tall, _ROW)
        for axes, (name, rows) in zip(panels, boxes.items(), strict=False):
            _boxes(axes, name, rows)
        for axes, (name, rows) in zip(panels[len(boxes) :], curves.items(), strict=True):
            _curves(axes, name, rows, "training networks" if name in grown else "pass or epoch")
            if name in grown:
                _ratios(axes, rows)
        return svg.to_svg(figure, label)


def _frontier(records: Sequence[Record], label: str) -> str | None:
    """Draw accuracy against novelty, where a bench made networks."""
    spots, reaches = frontier_of(records)
    if len(spots) < 2:
        return None
    with svg.style():
        figure, panels = svg.panels(2, 11.0, max(3.6, 0.2 * len(spots)), 2)
        draw_reaches(panels[0], reaches)
        draw_spots(panels[1], spots)
        return svg.to_svg(figure, label)


def write_beside(path: str | Path, records: Sequence[Record], label: str) -> Path | None:
    """Write the figure of a results file beside it, as an SVG of its own; none if there is nothing to draw.

    Where a bench wrote a table of points beside its results, these are drawn.

    Args:
        path: Results file.
        records: What to draw.
        label: What the figure shows.
    """
    points = Path(path).with_name(f"{Path(path).stem}-points.csv")
    text = draw_maps(points, label) if points.exists() else draw(records, label)
    if text is None:
        return None
    target = Path(path).with_suffix(".svg")
    write_text(target, svg.alone(text))
    return target


def gathered(records: Sequence[Record], pattern: re.Pattern[str], place: str) -> Table:
    """Collect the numbers whose names end alike.

    Args:
        records: One per method and metric.
        pattern: With groups `name` and the one that `place` names.
        place: Group that holds the percentage or the turn.
    """
    found: Table = {}
    for record in records:
        match = pattern.match(record.metric)
        if match:
            panel, _, kind = match["name"].partition(", ")  # "accuracy, rebuilt" stands beside "accuracy"
            row = f"{record.method}, {kind}" if kind else record.method
            found.setdefault(panel, {}).setdefault(row, {})[float(match[place])] = record.value
    return found


def apart(curves: Table) -> Table:
    """Give methods of several sorts, as in "mnist: made" and "letters: made", panels of their own."""
    found: Table = {}
    for name, rows in curves.items():
        sorts = {method.partition(": ")[0] for method in rows if ": " in method}
        for method, points in rows.items():
            sort, _, rest = method.partition(": ")
            split = len(sorts) > 1 and rest
            panel, row = (f"{sort}: {name}", rest) if split else (name, method)
            found.setdefault(panel, {})[row] = points
    return found


def _boxes(axes: "Axes", name: str, rows: dict[str, dict[float, float]]) -> None:
    """Draw a row per method: 5 to 95 % as a line, 25 to 75 % as a box, a mark at the median."""
    for row, points in enumerate(rows.values()):
        low, first, middle, third, high = (points[q] for q in _BOX)
        color = svg.SERIES[row % len(svg.SERIES)]
        axes.plot([low, high], [-row, -row], color=color, linewidth=1.2)
        axes.barh(-row, third - first, left=first, height=0.5, color=color, alpha=0.55, linewidth=0)
        axes.plot([middle, middle], [-row - 0.32, -row + 0.32], color=svg.INK, linewidth=1.8)
    axes.set_yticks([-row for row in range(len(rows))], list(rows))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=name, title=f"{name}: 5, 25, 50, 75, 95 %")


def _ratios(axes: "Axes", rows: dict[str, dict[float, float]]) -> None:
    """Let equal ratios look alike: of amounts, and of values that differ more than tenfold."""
    from matplotlib.ticker import LogLocator, NullFormatter

    values = [value for points in rows.values() for value in points.values()]
    turns = sorted({turn for points in rows.values() for turn in points})
    axes.set_xscale("log")
    axes.set_xticks(turns, [f"{turn:,.0f}" for turn in turns])
    axes.set_xticks([], minor=True)
    if min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def _curves(axes: "Axes", name: str, rows: dict[str, dict[float, float]], over: str) -> None:
    """Draw a line per method over passes, epochs or networks; methods beyond the colors are dashed."""
    for row, (method, points) in enumerate(rows.items()):
        turns = sorted(points)
        dashes = (4, 2) if row >= len(svg.SERIES) else (None, None)
        color = svg.SERIES[row % len(svg.SERIES)]
        values = [points[turn] for turn in turns]
        axes.plot(turns, values, color=color, label=method, marker="o", markersize=3, dashes=dashes)
    axes.set(xlabel=over, title=name)
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.2))  # below: curves may run anywhere inside
