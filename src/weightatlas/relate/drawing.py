"""Draw family trees: as text, and as an SVG picture."""

from collections.abc import Sequence
from html import escape

from weightatlas.relate.tree import Edge, Tree

_ROW, _STEP, _LEFT = 24, 36, 16
_LETTER = 6.6  # width of a letter, about
_LISTED = 20  # networks without relatives that text names one by one


def text_of(tree: Tree, names: Sequence[str]) -> str:
    """Write a tree with a line per network, children indented; many without relatives are only counted.

    Example:
        >>> print(text_of(Tree((Edge(1, 0, None, ("pruned",), 0.0),), (0,)), ["base", "small"]))
        base
        └─ small  (pruned)

    Args:
        tree: The families.
        names: Name of every row.
    """
    lines, lone = [], _lone(tree)
    for _, row, edge, last in _walk(tree):
        if edge is None:
            lines += [] if row in lone and len(lone) > _LISTED else [names[row]]
            continue
        also = f" and {names[edge.second]}" if edge.second is not None else ""
        bars = "".join("   " if closed else "│  " for closed in last[1:-1])
        lines.append(f"{bars}{'└─' if last[-1] else '├─'} {names[row]}  ({' + '.join(edge.changes)}{also})")
    if len(lone) > _LISTED:
        lines.append(f"{len(lone)} networks without relatives here; the picture and --json name them.")
    return "\n".join(lines)


def svg_of(tree: Tree, names: Sequence[str], title: str = "Family tree") -> str:
    """Draw a tree from left to right; the picture needs no other file.

    Args:
        tree: The families.
        names: Name of every row.
        title: Heading, also for screen readers.
    """
    nodes = list(_walk(tree))
    place = {row: (_LEFT + depth * _STEP, 50 + _ROW * i) for i, (depth, row, _, _) in enumerate(nodes)}
    notes = {row: f"  {' + '.join(edge.changes)}" if edge else "" for _, row, edge, _ in nodes}
    ends = [place[row][0] + 24 + _LETTER * len(names[row] + notes[row]) for row in place]
    width, height = int(max([*ends, 300])), 70 + _ROW * len(nodes)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>',
        f'<text x="{_LEFT}" y="24" font-size="16">{escape(title)}</text>',
    ]
    for _, row, edge, _ in nodes:
        x, y = place[row]
        if edge is not None:
            parts.append(_line(place[edge.parent], (x, y), "#667"))
            if edge.second is not None:
                parts.append(_line(place[edge.second], (x, y), "#b66"))
        note = f"<tspan fill='#667'>{escape(notes[row])}</tspan>" if edge else ""
        parts.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{"#247" if edge else "#c60"}"/>')
        parts.append(f'<text x="{x + 9}" y="{y + 4}">{escape(names[row])}{note}</text>')
    return "\n".join([*parts, "</svg>"])


def html_of(tree: Tree, names: Sequence[str], title: str = "Family tree") -> str:
    """Put the picture on a page of its own.

    Args:
        tree: The families.
        names: Name of every row.
        title: Heading.
    """
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    return f"{head}<body>{svg_of(tree, names, title)}</body></html>\n"


def _line(start: tuple[int, int], end: tuple[int, int], color: str) -> str:
    """Draw an edge: down from the parent, then across."""
    (x, y), (a, b) = start, end
    return f'<path d="M{x},{y} V{b} H{a}" fill="none" stroke="{color}"/>'


def _lone(tree: Tree) -> set[int]:
    """Roots without children."""
    return set(tree.roots) - {parent for parent, _ in tree.arcs}


def _walk(tree: Tree) -> list[tuple[int, int, Edge | None, tuple[bool, ...]]]:
    """List (depth, row, edge to the parent, whether each ancestor is a last child), parents first.

    Families come before networks without relatives.
    """
    children: dict[int, list[Edge]] = {}
    for edge in tree.edges:
        children.setdefault(edge.parent, []).append(edge)
    roots = sorted(tree.roots, key=lambda row: row not in children)
    result: list[tuple[int, int, Edge | None, tuple[bool, ...]]] = []
    waiting: list[tuple[int, int, Edge | None, tuple[bool, ...]]] = [
        (0, root, None, (True,)) for root in reversed(roots)
    ]
    while waiting:
        depth, row, edge, last = waiting.pop()
        result.append((depth, row, edge, last))
        own = children.get(row, [])
        rows = [(depth + 1, e.child, e, (*last, i == len(own) - 1)) for i, e in enumerate(own)]
        waiting += reversed(rows)
    return result
