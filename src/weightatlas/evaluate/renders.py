"""Pictures of shapes and images side by side, one row per path."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from weightatlas.atomic import replacing
from weightatlas.evaluate.meshes import Mesh

_COLOR = (0.55, 0.7, 0.9)


def draw_meshes(path: str | Path, rows: Mapping[str, Sequence[Mesh | None]], title: str = "") -> Path:
    """Draw rows of meshes with light from above; one that is none is left blank.

    Args:
        path: A .png file.
        rows: Name of each row -> its meshes, from left to right.
        title: Written above.

    Raises:
        FileError: The file cannot be written.
    """
    figure, axes = _grid(rows, title, projection="3d")
    for row, meshes in zip(axes, rows.values(), strict=True):
        for axis, mesh in zip(row, meshes, strict=True):
            _draw(axis, mesh)
    return _save(figure, path)


def draw_images(path: str | Path, rows: dict[str, Float[np.ndarray, "_ _ _"]], title: str = "") -> Path:
    """Draw rows of gray images, values from -1 to 1.

    Args:
        path: A .png file.
        rows: Name of each row -> images, shape `(images, height, width)`.
        title: Written above.
    """
    figure, axes = _grid(rows, title)
    for row, images in zip(axes, rows.values(), strict=True):
        for axis, image in zip(row, images, strict=True):
            axis.imshow(image, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            axis.set_axis_off()
    return _save(figure, path)


def _grid(rows: Mapping[str, Any], title: str, **options: Any) -> tuple[Any, Any]:
    """Make a figure with a cell for every picture and a name for every row."""
    from matplotlib.figure import Figure

    width = max(len(row) for row in rows.values())
    figure = Figure(figsize=(1.35 * width + 0.2, 1.55 * len(rows) + (0.3 if title else 0)), dpi=100)
    axes = figure.subplots(len(rows), width, squeeze=False, subplot_kw=options)
    figure.subplots_adjust(left=0.03, right=1, bottom=0, top=0.9, wspace=0, hspace=0.12)
    if title:
        figure.suptitle(title, fontsize=9)
    for row, name in zip(axes, rows, strict=True):
        row[0].set_title(name, fontsize=8, loc="left")
    return figure, axes


def _draw(axis: Any, mesh: Mesh | None) -> None:
    """Draw one mesh, seen from the front and a little above."""
    from matplotlib.colors import LightSource
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    axis.set_axis_off()
    if mesh is None:
        return
    light = LightSource(azdeg=315, altdeg=60)
    faces = Poly3DCollection(mesh.corners, facecolors=_COLOR, shade=True, lightsource=light)
    axis.add_collection3d(faces)
    axis.set(xlim=(-0.9, 0.9), ylim=(-0.9, 0.9), zlim=(-0.9, 0.9))
    axis.set_box_aspect((1, 1, 1), zoom=1.5)
    axis.view_init(elev=15, azim=-60)


def _save(figure: Any, path: str | Path) -> Path:
    path = Path(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    return path
