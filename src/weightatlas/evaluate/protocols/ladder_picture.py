"""Picture of NetSpace with several architectures: codes, and a path from smallest to largest (Fig. 5)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.encoders.prep_autoencoder import PrepAutoencoder
from weightatlas.evaluate.plots import COLORS, FAINT, plot
from weightatlas.evaluate.protocols.point_tables import beside, keep_points, kept_points
from weightatlas.objectives.interpolation import gammas
from weightatlas.weights.batch import Weights

CODES, PATH = "codes", "path"


@dataclass(frozen=True, slots=True)
class Space:
    """What is drawn of one training.

    Args:
        codes: Two numbers of each test network, from `principal`.
        classes: Architecture its code is predicted to stand for, 0 the smallest.
        accuracy: Test accuracy at places spread evenly from 0, the smallest network, to 1, the largest.
        between: Architecture that is predicted, and run, at each place.
    """

    codes: Float[np.ndarray, "networks 2"]
    classes: Int[np.ndarray, " networks"]
    accuracy: Float[np.ndarray, " positions"]
    between: Int[np.ndarray, " positions"]


@torch.no_grad()
def space_of(
    encoder: PrepAutoencoder,
    networks: Sequence[Weights],
    accuracy: Callable[[int, Float[Tensor, "codes 1 dim"]], Float[Tensor, " codes"]],
    positions: int,
) -> Space:
    """Measure what is drawn of one training.

    Args:
        encoder: The autoencoder.
        networks: Test networks of every architecture, smallest first; the path joins the first of the
            smallest and the first of the largest.
        accuracy: From an architecture and codes to the accuracies of what they decode to as such.
        positions: Places on the path.
    """
    codes = [encoder.encode(weights).codes for weights in networks]
    at = torch.linspace(0, 1, positions).to(codes[0])
    path = torch.lerp(codes[0][:1], codes[-1][:1], at[:, None, None])
    between = encoder.classes(path)
    found = torch.zeros(positions)
    for rung in between.unique().tolist():
        mine = between == rung
        found[mine.cpu()] = accuracy(rung, path[mine]).float().cpu()
    every = torch.cat(codes)
    flat = principal(every.flatten(1).double().cpu().numpy())
    return Space(flat, encoder.classes(every).cpu().numpy(), found.numpy(), between.cpu().numpy())


def principal(codes: Float[np.ndarray, "networks dim"]) -> Float[np.ndarray, "networks 2"]:
    """Bring codes to their first two principal components.

    Example:
        >>> principal(np.array([[0.0, 3.0, 1.0], [0.0, 5.0, 1.0]])).round(3) + 0.0
        array([[-1.,  0.],
               [ 1.,  0.]])

    Args:
        codes: A network a row.
    """
    centered = codes - codes.mean(0)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    directions = directions[:2] * np.sign(directions[:2].sum(1, keepdims=True) + 1e-12)
    found = np.zeros((len(codes), 2))
    found[:, : len(directions)] = centered @ directions.T
    return found


def keep_space(out: str | Path, row: str, space: Space) -> None:
    """Keep what is drawn of one training beside a results file, in place of what was kept before.

    Args:
        out: Results file.
        row: Name of the training.
        space: Its points.
    """
    codes = np.column_stack([space.codes, space.classes])
    keep_points(beside(out, CODES, "csv"), row, ("x", "y", "class"), codes)
    at = np.linspace(0, 1, len(space.accuracy))
    path = np.column_stack([at, space.accuracy, space.between])
    keep_points(beside(out, PATH, "csv"), row, ("gamma", "accuracy", "class"), path)


def draw_spaces(out: str | Path, names: Sequence[str], rows: Sequence[str]) -> None:
    """Draw what was kept beside a results file; without it, draw nothing.

    Args:
        out: Results file.
        names: Architectures, smallest first.
        rows: Trainings to draw, in this order; those that were not kept are left out.
    """
    tables = beside(out, CODES, "csv"), beside(out, PATH, "csv")
    if not all(table.exists() for table in tables):
        return
    codes, paths = (kept_points(table)[1] for table in tables)
    spaces = {
        row: Space(codes[row][:, :2], _integers(codes[row]), paths[row][:, 1], _integers(paths[row]))
        for row in rows
        if row in codes and row in paths
    }
    if spaces:
        draw_ladder(beside(out, "space", "svg"), spaces, names)


def draw_ladder(path: str | Path, spaces: Mapping[str, Space], names: Sequence[str]) -> None:
    """Draw codes and a path for every training, one below the other.

    Stars stand where each architecture between the smallest and the largest is asked for.

    Args:
        path: An .svg file.
        spaces: Name of each training -> its points.
        names: Architectures, smallest first.
    """
    low = min(space.accuracy.min() for space in spaces.values())
    high = max(space.accuracy.max() for space in spaces.values())
    margin = 0.08 * max(high - low, 0.05)
    size = (8.4, 2.9 * len(spaces) + 0.4)
    with plot(path, len(spaces), 2, size, width_ratios=(1, 1.4)) as (figure, axes):
        for (left, right), (row, space) in zip(axes, spaces.items(), strict=True):
            _points(left, space.codes, space.classes, names)
            left.set(title=f"{row}: codes", xticks=[], yticks=[], xlabel="PCA 1", ylabel="PCA 2")
            _walk(right, space, names)
            right.set(title=f"{row}: path", xlabel="γ", ylabel="test accuracy")
            right.set_ylim(low - margin, high + margin)
        handles = [_point(axes[0, 0], COLORS[place % len(COLORS)]) for place in range(len(names))]
        star = axes[0, 0].plot([], [], "*", color="#1c2128", markersize=10)[0]
        labels = [*names, "asked for in training"]
        figure.legend([*handles, star], labels, loc="outside lower center", ncols=len(labels))


def _walk(axis: Any, space: Space, names: Sequence[str]) -> None:
    """Plot accuracy along a path in the colors of what is run there."""
    at = np.linspace(0, 1, len(space.accuracy))
    axis.plot(at, space.accuracy, color=FAINT, linewidth=0.8, zorder=0)
    _points(axis, np.column_stack([at, space.accuracy]), space.between, names)
    for gamma in gammas(len(names)).tolist():
        place = np.abs(at - gamma).argmin()
        color = COLORS[int(space.between[place]) % len(COLORS)]
        style = {"markersize": 13, "markeredgecolor": "#1c2128", "markeredgewidth": 0.7}
        axis.plot(at[place], space.accuracy[place], "*", color=color, **style)
    axis.grid(visible=True)


def _points(axis: Any, points: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> None:
    for place in range(len(names)):
        color = COLORS[place % len(COLORS)]
        axis.plot(
            *points[classes == place].T, "o", color=color, markersize=4.5, alpha=0.85, markeredgewidth=0
        )


def _point(axis: Any, color: str) -> Any:
    return axis.plot([], [], "o", color=color, markersize=5)[0]


def _integers(points: np.ndarray) -> Int[np.ndarray, " rows"]:
    return points[:, 2].round().astype(int)
