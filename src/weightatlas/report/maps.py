"""Networks as points in space, seen from three sides, a row per method."""

import csv
from itertools import combinations
from pathlib import Path

import numpy as np

from weightatlas.report import svg

_AXES = ("x", "y", "z")


def inside(points: np.ndarray) -> np.ndarray:
    """Bring points beyond the middle 96 % and a quarter of their range on each side to that border.

    Args:
        points: Shape `(points, 2)`.
    """
    low, high = np.quantile(points, [0.02, 0.98], axis=0)
    margin = 0.25 * (high - low)
    return points.clip(low - margin, high + margin)


def draw_maps(path: str | Path, label: str) -> str:
    """Draw a table of points as an SVG element; points far from all others stand at the edge.

    Args:
        path: CSV with the columns method, zoo, x, y, z.
        label: What the figure shows, for those who cannot see it.
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    methods, zoos = (list(dict.fromkeys(row[name] for row in rows)) for name in ("method", "zoo"))
    views = list(combinations(_AXES, 2))
    with svg.style():
        figure, panels = svg.panels(len(methods) * 3, 8.4, 2.5 * len(methods) + 0.4, 3)
        for place, axes in enumerate(panels):
            method, view = methods[place // 3], views[place % 3]
            mine = [row for row in rows if row["method"] == method]
            every = inside(np.array([[float(row[axis]) for axis in view] for row in mine]))
            for number, zoo in enumerate(zoos):
                points = every[[row["zoo"] == zoo for row in mine]]
                color = svg.SERIES[number % len(svg.SERIES)]
                axes.plot(*points.T, "o", color=color, markersize=3, alpha=0.75, markeredgewidth=0, label=zoo)
            axes.set(xticks=[], yticks=[], title=method if place % 3 == 0 else "")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), markerscale=2)
        return svg.to_svg(figure, label)
