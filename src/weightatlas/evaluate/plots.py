"""Plots as SVG files of their own: one style, and the same bytes for the same numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from weightatlas.atomic import replacing

COLORS = ("#3b5bdb", "#e8590c", "#2b8a3e", "#9c36b5", "#0b7285", "#c2255c")
FAINT = "#98a1ab"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dfe3e8",
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": "#1c2128",
    "ytick.labelcolor": "#1c2128",
    "legend.frameon": False,
}


@contextmanager
def plot(
    path: str | Path, rows: int, columns: int, size: tuple[float, float], **options: Any
) -> Iterator[tuple[Any, np.ndarray]]:
    """Open a figure with a grid of panels; it is written when the block ends without an error.

    Example:
        >>> from tempfile import mkdtemp
        >>> target = Path(mkdtemp()) / "line.svg"
        >>> with plot(target, 1, 2, (4, 2)) as (figure, axes):
        ...     _ = axes[0, 1].plot([0, 1], [0, 1])
        >>> target.read_text()[:5]
        '<?xml'

    Args:
        path: An .svg file.
        rows: Panels below one another.
        columns: Panels side by side.
        size: Width and height in inches.
        options: Of matplotlib's `subplots`.

    Raises:
        FileError: The file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    path = Path(path)
    with mpl.rc_context({**_STYLE, "svg.hashsalt": path.stem}):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        yield figure, figure.subplots(rows, columns, squeeze=False, **options)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="svg", dpi=150, metadata={"Date": None})


def hide(axes: np.ndarray, used: int) -> None:
    """Leave the panels of a grid blank that are not used."""
    for empty in axes.flat[used:]:
        empty.set_axis_off()
