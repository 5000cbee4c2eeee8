"""Paths between networks of shapes or images: how broken they are, pictures, and meshes."""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.evaluate.meshes import Mesh, grid_values, mesh_of
from weightatlas.evaluate.protocols.field_stage import BENCH, FieldStage, slope_error
from weightatlas.evaluate.renders import draw_images, draw_meshes
from weightatlas.latent.interpolate import line
from weightatlas.results import Record

Ends = tuple[Tensor, Callable[[Tensor], Tensor]]
MESH_SIDE = 48


def path_records(
    there: FieldStage,
    paths: dict[str, Ends],
    pairs: int,
    positions: int,
    seed: int,
    folder: Path | None,
) -> list[Record]:
    """Walk between the i-th and the i-th but last judged network, and draw the first walk.

    "path slope error": how far fields between two networks are from signed distances, whose slope is 1.

    Args:
        there: Networks.
        paths: Row -> what is interpolated for each judged network, and how it becomes weights.
        pairs: Walks.
        positions: Places on each.
        seed: In the records.
        folder: Where pictures and meshes go; none makes none.
    """
    count = min(pairs, len(there.values["test"]) // 2)
    at, records = torch.linspace(0, 1, positions), []
    walks = {
        name: decode(line(ends[:count], ends.flip(0)[:count], at).flatten(0, 1)).detach()
        for name, (ends, decode) in paths.items()
    }
    for name, weights in walks.items():
        if there.images:
            continue
        inner = there.fields(weights).unflatten(0, (count, positions))[:, 1:-1].flatten(0, 1)
        about = {**there.about(seed), "method": name, "n": count, "metric": "path slope error"}
        kind = "baseline" if name == "raw weights" else "ours"
        records.append(Record.build({**about, "kind": kind, "value": float(slope_error(inner).mean())}))
    if folder is not None and seed == 0:
        first = {name: weights[:positions] for name, weights in walks.items()}
        name = f"{BENCH}-{there.tier}-{there.name}-{_mark(next(iter(paths)))}.png"
        path = folder / "figures" / name
        (draw_image_walk if there.images else draw_shape_walk)(there, first, path)
    return records


def draw_shape_walk(
    there: FieldStage, walks: dict[str, Float[Tensor, "positions params"]], path: Path
) -> None:
    """Mesh the networks of a walk, write the meshes, and draw one row per way of walking."""
    rows: dict[str, list[Mesh | None]] = {}
    for name, weights in walks.items():
        fields = grid_values(there.population, weights, MESH_SIDE)
        rows[name] = [_mesh(field, f"place {place} of '{name}'") for place, field in enumerate(fields)]
        for place, mesh in enumerate(rows[name]):
            if mesh is not None:
                mesh.write(path.parent / "meshes" / f"{path.stem}-{_mark(name)}-{place}.ply")
    draw_meshes(path, rows)


def draw_image_walk(
    there: FieldStage, walks: dict[str, Float[Tensor, "positions params"]], path: Path
) -> None:
    """Draw the images of a walk, one row per way of walking."""
    draw_images(path, {name: there.fields(weights).cpu().numpy() for name, weights in walks.items()})


def _mesh(field: Float[Tensor, "side side side"], name: str) -> Mesh | None:
    """Mesh one field; between two shapes there may be nothing left to draw."""
    try:
        return mesh_of(field, name, closed=True)
    except DataError:
        return None


def _mark(name: str) -> str:
    """Write the name of a row as part of a file name."""
    return name.replace(", ", "-").replace(" ", "_")
