"""Frontier of generators: how good new networks are against how far they are from what was trained."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightatlas.report import svg
from weightatlas.results import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FAR, _GOOD = "nearest training network", "median accuracy"
_REACH = re.compile(r"^good and new at (?P<reach>[\d.]+)x$")

Spots = dict[str, tuple[float, float, bool]]
"""Method -> distance to the nearest training network, median accuracy, whether it is ours."""
Reaches = dict[str, dict[float, float]]
"""Method -> distance -> share of its networks that are good and at least that far."""


def frontier_of(records: Sequence[Record]) -> tuple[Spots, Reaches]:
    """Collect where methods stand, and how many of their networks are good and new.

    Args:
        records: One per method and metric.
    """
    far = {r.method: r.value for r in records if r.metric == _FAR}
    good = {r.method: (r.value, r.kind == "ours") for r in records if r.metric == _GOOD}
    spots = {method: (far[method], *good[method]) for method in good if method in far}
    reaches: Reaches = {}
    for record in records:
        match = _REACH.match(record.metric)
        if match:
            reaches.setdefault(record.method, {})[float(match["reach"])] = record.value
    return spots, {method: shares for method, shares in reaches.items() if max(shares.values()) > 0}


def draw_spots(axes: "Axes", spots: Spots) -> None:
    """Number every method on the plane; the key stands beside it. Baselines are hollow.

    Args:
        axes: Where to draw.
        spots: From `frontier_of`.
    """
    order = sorted(spots, key=lambda method: -spots[method][1])
    for place, method in enumerate(order, start=1):
        far, good, ours = spots[method]
        color = svg.SERIES[0]
        axes.plot(
            far, good, "o", markersize=11, color=color, markerfacecolor=color if ours else "none", alpha=0.85
        )
        axes.annotate(
            str(place),
            (far, good),
            ha="center",
            va="center",
            fontsize=6.5,
            color="white" if ours else svg.INK,
        )
        axes.plot([], [], " ", label=f"{place}  {method}")
    axes.axvline(1, color=svg.INK, linewidth=0.6, linestyle=(0, (2, 3)))
    axes.set(xlabel="distance to the nearest training network, in units of the zoo", ylabel="median accuracy")
    axes.set_title("good against new (filled: ours)")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False, handlelength=0)


def draw_reaches(axes: "Axes", reaches: Reaches) -> None:
    """Draw the share of good networks over the distance they must have.

    Args:
        axes: Where to draw.
        reaches: From `frontier_of`.
    """
    for row, (method, shares) in enumerate(reaches.items()):
        turns = sorted(shares)
        color = svg.SERIES[row % len(svg.SERIES)]
        axes.plot(turns, [shares[turn] for turn in turns], "o-", color=color, label=method, markersize=3)
    axes.set(xlabel="least distance, in units of the zoo", ylabel="share good and new", ylim=(-0.03, 1.03))
    last = max(
        (turn for shares in reaches.values() for turn, share in shares.items() if share > 0), default=1.0
    )
    axes.set_xlim(0, last + 1)
    axes.set_title("good and new")
    axes.legend(fontsize=7, frameon=False)
