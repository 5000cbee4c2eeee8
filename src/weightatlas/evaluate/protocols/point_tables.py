"""Points of pictures as tables beside a bench's results: they can be drawn again without measuring."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from weightatlas.atomic import write_text


def beside(out: str | Path, name: str, ending: str) -> Path:
    """Path of a table or picture beside a results file.

    Example:
        >>> beside("results/b-laptop.json", "paths", "csv").as_posix()
        'results/b-laptop-paths.csv'
    """
    return Path(out).with_name(f"{Path(out).stem}-{name}.{ending}")


def keep_points(
    path: Path, method: str, columns: Sequence[str], points: Float[np.ndarray, "points columns"]
) -> None:
    """Write the points of one method into a table, in place of older ones.

    A table with other columns is of another measurement and is begun again.

    Args:
        path: Table.
        method: First column of every row.
        columns: Names of the numbers.
        points: Numbers, rounded to four digits.
    """
    header, rows = ["method", *columns], []
    if path.exists():
        held = list(csv.reader(io.StringIO(path.read_text("utf-8"))))
        rows = [row for row in held[1:] if row[0] != method] if held[:1] == [header] else []
    rows += [[method, *(f"{number:.4f}" for number in point)] for point in points.tolist()]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_text(path, text.getvalue())


def kept_points(path: Path) -> tuple[list[str], dict[str, Float[np.ndarray, "points columns"]]]:
    """Read a table back.

    Returns:
        Names of the numbers, and the points of every method in the order in which they were kept.
    """
    header, *rows = csv.reader(io.StringIO(path.read_text("utf-8")))
    found: dict[str, list[list[float]]] = {}
    for method, *numbers in rows:
        found.setdefault(method, []).append([float(number) for number in numbers])
    return header[1:], {method: np.array(points) for method, points in found.items()}
