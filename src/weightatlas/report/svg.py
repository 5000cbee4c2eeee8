"""Matplotlib figures as inline SVG that follows the page's light or dark colors."""

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-ins that become CSS variables of the page; any colors that occur nowhere else would do.
INK, FAINT, PAPER = "#010101", "#020202", "#030303"
SERIES = ("#040404", "#050505", "#060606", "#070707", "#080808", "#090909")
_VARIABLES = {INK: "--ink", FAINT: "--faint", PAPER: "--paper"} | {
    color: f"--c{place}" for place, color in enumerate(SERIES, 1)
}
_RULES: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "lines.linewidth": 1.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the report's style inside the block; matplotlib's own settings stay untouched."""
    import matplotlib as mpl

    with mpl.rc_context(_RULES):
        yield


def panels(
    count: int, width: float = 8.4, height: float = 3.3, columns: int | None = None
) -> "tuple[Figure, list[Axes]]":
    """Make a figure with panels side by side; call it inside `style`.

    Args:
        count: Number of panels.
        width: Width of the whole figure in inches.
        height: Its height in inches.
        columns: Panels in a row; all by default.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    columns = min(columns or count, count)
    axes = list(figure.subplots(-(-count // columns), columns, squeeze=False).flat)
    for empty in axes[count:]:
        empty.set_axis_off()
    return figure, axes[:count]


def to_svg(figure: "Figure", label: str) -> str:
    """Write a figure as an SVG element without date, size, outside references or repeated ids.

    Args:
        figure: What to draw.
        label: What it shows, for those who cannot see it; also makes ids unique in the page.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({**_RULES, "svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    return _clean(buffer.getvalue(), label)


def _clean(text: str, label: str) -> str:
    """Strip the document around the SVG element and hand colors over to the page."""
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    box = re.search(r'viewBox="[^"]+"', head)
    escaped = html.escape(label)
    head = f'<svg {box[0] if box else ""} role="img" aria-label="{escaped}"'
    if "xlink:" in rest:
        rest = rest.replace("xlink:href", "href")
    for color, variable in _VARIABLES.items():
        rest = rest.replace(color, f"var({variable})")
    return f"{head}>{rest}"


def alone(element: str) -> str:
    """Turn an SVG element of a page into a document of its own, with the page's colors.

    Args:
        element: What `to_svg` returned.
    """
    css = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    names = "|".join(re.escape(name) for name in [*_VARIABLES.values(), "--paper"])
    light, _, dark = css.partition("prefers-color-scheme: dark")
    sets = ["; ".join(re.findall(rf"(?:{names}): [^;]+", part)) for part in (light, dark)]
    style = f"<style>svg {{ {sets[0]}; background: var(--paper) }}"
    style += f" @media (prefers-color-scheme: dark) {{ svg {{ {sets[1]} }} }}</style>"
    head, rest = element.split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg">{style}{rest}\n'
