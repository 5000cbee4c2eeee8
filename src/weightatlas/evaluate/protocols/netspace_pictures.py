"""Pictures of NetSpace with one architecture: accuracies, paths (Fig. 3), and networks as images."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.evaluate.plots import COLORS, FAINT, hide, plot
from weightatlas.evaluate.protocols.point_tables import beside, kept_points
from weightatlas.weights.prep import PrepConfig, layout
from weightatlas.weights.spec import NetworkSpec

ACCURACIES, PATHS = "accuracies", "paths"
ENDS = ("original", "rebuilt")
REFINED = ", refined"


def draw_pictures(out: str | Path, methods: Sequence[str]) -> None:
    """Draw what the tables beside a results file hold.

    Args:
        out: Results file.
        methods: Rows that come first; baselines follow.
    """
    for name, draw in ((ACCURACIES, draw_accuracies), (PATHS, draw_paths)):
        table = beside(out, name, "csv")
        if table.exists():
            draw(beside(out, name, "svg"), table, methods)


def draw_accuracies(path: Path, table: Path, methods: Sequence[str]) -> None:
    """Plot accuracies of rebuilt test networks against those of their originals (Fig. 3a and 3c).

    Args:
        path: An .svg file.
        table: Points with the columns "original" and "rebuilt".
        methods: Rows that come first. Codes that were refined share the panel of those that were not.
    """
    _, points = kept_points(table)
    names = _ours_first(list(dict.fromkeys(name.removesuffix(REFINED) for name in points)), methods)
    every = np.concatenate(list(points.values()))
    low, high = every.min() - 0.03, every.max() + 0.03
    rows = ceil(len(names) / 3)
    with plot(path, rows, 3, (8.4, 2.95 * rows + 0.6), sharex=True, sharey=True) as (figure, axes):
        for axis, name in zip(axes.flat, names, strict=False):
            axis.plot([low, high], [low, high], color=FAINT, linewidth=0.8, zorder=0)
            gaps = _accuracies(axis, points, name)
            axis.set(xlim=(low, high), ylim=(low, high), title=f"{name}\n{gaps}")
            axis.set_box_aspect(1)
            axis.grid(visible=True)
        hide(axes, len(names))
        marks, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(marks, labels, loc="outside upper center", ncols=2)
        figure.supxlabel("test accuracy of the original", fontsize=9)
        figure.supylabel("test accuracy of the rebuilt network", fontsize=9)


def _accuracies(axis: Any, points: dict[str, np.ndarray], name: str) -> str:
    """Plot one row, as decoded and with refined codes, and say how far it is off."""
    series = ((name, "as decoded", COLORS[0], COLORS[0]), (name + REFINED, "refined", COLORS[1], "none"))
    gaps = []
    for method, label, color, face in series:
        if method in points:
            gap = f"{np.abs(np.diff(points[method], axis=1)).mean():.3f}"
            gaps.append(gap if method == name else f"refined {gap}")
            axis.plot(*points[method].T, "o", color=color, markerfacecolor=face, markersize=4, label=label)
    return f"mean gap {', '.join(gaps)}"


def draw_paths(path: Path, table: Path, methods: Sequence[str]) -> None:
    """Plot accuracy along paths, codes above and weights below (Fig. 3b and 3d).

    Args:
        path: An .svg file.
        table: A path a row; the columns are its places, from 0 to 1.
        methods: Rows that walk between codes.
    """
    columns, curves = kept_points(table)
    at = np.array([float(column) for column in columns])
    ours = [name for name in methods if name in curves]
    groups = [names for names in (ours, [name for name in curves if name not in ours]) if names]
    wide = max(len(names) for names in groups)
    size = (2.8 * wide, 2.4 * len(groups) + 0.8)
    with plot(path, len(groups), wide, size, sharex=True, sharey=True) as (figure, axes):
        for row, names, color in zip(axes, groups, COLORS, strict=False):
            for axis, name in zip(row, names, strict=False):
                _path(axis, at, curves[name], color)
                axis.set_title(name)
            hide(row, len(names))
        count = len(next(iter(curves.values())))
        handles = axes[0, 0].get_legend_handles_labels()
        title = f"paths between {count} pairs of test networks"
        figure.legend(*handles, loc="outside upper center", ncols=len(handles[1]), title=title)
        figure.supxlabel("place on the path, γ", fontsize=9)
        figure.supylabel("test accuracy", fontsize=9)


def _path(axis: Any, at: np.ndarray, curves: Float[np.ndarray, "paths positions"], color: str) -> None:
    """Plot the middle half of all paths, their median and the first of them."""
    low, middle, high = np.quantile(curves, [0.25, 0.5, 0.75], axis=0)
    axis.fill_between(at, low, high, color=color, alpha=0.2, linewidth=0, label="middle half")
    axis.plot(at, middle, color=color, linewidth=1.8, label="median")
    axis.plot(at, curves[0], color="#1c2128", linewidth=0.9, linestyle=(0, (4, 2)), label="one pair")
    axis.plot(at[[0, -1]], middle[[0, -1]], color=FAINT, linewidth=0.8, label="straight line")
    axis.grid(visible=True)


def draw_preps(
    path: Path,
    originals: Float[Tensor, "networks params"],
    rebuilt: Float[Tensor, "networks params"],
    spec: NetworkSpec,
    names: Sequence[str],
) -> None:
    """Draw networks as square PReps: originals, what they were rebuilt as, and the difference.

    All images of a network share their limits, the largest magnitude between its 1st and 99th percentile.

    Args:
        path: An .svg file.
        originals: Networks as rows.
        rebuilt: The same networks, in the neuron order of their originals.
        spec: Layout of both.
        names: Title of each network's row.
    """
    kinds = ("original", "rebuilt, aligned to it", "rebuilt − original")
    with plot(path, len(names), 3, (8.4, 2.75 * len(names))) as (figure, axes):
        for row, name, first, second in zip(axes, names, originals, rebuilt, strict=True):
            limit = float(first.quantile(torch.tensor([0.01, 0.99]).to(first)).abs().amax())
            for axis, kind, values in zip(row, kinds, (first, second, second - first), strict=True):
                image = _image(values, spec)
                shown = axis.imshow(image, cmap=_colors(), vmin=-limit, vmax=limit, interpolation="none")
                axis.set(xticks=[], yticks=[], title=kind)
                axis.spines[:].set_visible(False)
            row[0].set_ylabel(name, color="#1c2128")
            figure.colorbar(shown, ax=list(row), shrink=0.85, aspect=18, pad=0.02, label="weight")


def _image(values: Float[Tensor, " params"], spec: NetworkSpec) -> np.ma.MaskedArray:
    """Lay a network out in a square; places without a parameter are masked."""
    sizes = PrepConfig(width=ceil(spec.params**0.5))
    plan = layout(spec, sizes)  # pyright: ignore[reportArgumentType]
    places = values.cpu()[plan.slots.clamp(min=0).long()]
    return np.ma.masked_where(~plan.mask.numpy(), places.numpy())


def _colors() -> Any:
    """Blue, white, red, with gray where there is no weight."""
    from matplotlib import colormaps

    return colormaps["RdBu_r"].with_extremes(bad="#b0b5bb")


def _ours_first(names: list[str], methods: Sequence[str]) -> list[str]:
    return [name for name in methods if name in names] + [name for name in names if name not in methods]
