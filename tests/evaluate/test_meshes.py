"""Meshes: where the surface is, in files that open, and named refusals."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from weightatlas.errors import ConfigError, DataError
from weightatlas.evaluate.meshes import Mesh, grid_values, mesh_of, overlap
from weightatlas.networks import create_network
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.symmetry.verify import spec_of
from weightatlas.tasks.shapes import cube

SIDE = 32


def ball(radius: float = 0.5, centre: tuple[float, ...] = (0.0, 0.0, 0.0)) -> torch.Tensor:
    return ((cube(SIDE) - torch.tensor(centre)).norm(dim=1) - radius).view(SIDE, SIDE, SIDE)


def test_a_ball_is_centred_and_keeps_its_size():
    mesh = mesh_of(ball(0.5, (0.2, -0.1, 0.3)))
    away = np.linalg.norm(mesh.vertices - np.array([0.2, -0.1, 0.3]), axis=1)
    assert np.abs(away - 0.5).max() < 2 / SIDE / 4
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.02)


def test_it_is_closed():
    mesh = mesh_of(ball())
    edges = np.sort(np.concatenate([mesh.faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


@pytest.mark.parametrize("suffix", ["obj", "ply"])
def test_files_open_with_the_same_numbers(tmp_path: Path, suffix: str):
    mesh = mesh_of(ball())
    again = read(mesh.write(tmp_path / f"ball.{suffix}"))
    assert np.array_equal(again.faces, mesh.faces)
    np.testing.assert_allclose(again.vertices, mesh.vertices, atol=1e-6)
    assert again.volume == pytest.approx(mesh.volume, rel=1e-4)
    with pytest.raises(ConfigError, match=r"\.obj or \.ply"):
        mesh.write(tmp_path / "ball.stl")


def read(path: Path) -> Mesh:
    """Read what `Mesh.write` writes, by the formats' own rules."""
    if path.suffix == ".obj":
        rows = [line.split() for line in path.read_text().splitlines()]
        vertices = [list(map(float, row[1:])) for row in rows if row[0] == "v"]
        faces = [[int(number) - 1 for number in row[1:]] for row in rows if row[0] == "f"]
        return Mesh(np.array(vertices), np.array(faces))
    head, _, body = path.read_bytes().partition(b"end_header\n")
    counts = [int(line.split()[2]) for line in head.decode().splitlines() if line.startswith("element")]
    vertices = np.frombuffer(body, "<f4", 3 * counts[0]).reshape(-1, 3)
    rows = np.frombuffer(body, np.dtype([("n", "u1"), ("at", "<i4", 3)]), counts[1], 12 * counts[0])
    assert (rows["n"] == 3).all()
    assert len(body) == 12 * counts[0] + 13 * counts[1]
    return Mesh(vertices.astype(float), rows["at"].astype(np.int64))


def test_what_has_no_surface_is_refused():
    for field in (ball() + 3, ball() - 3):
        with pytest.raises(DataError, match="level set of chair 4 is empty"):
            mesh_of(field, "chair 4")
    with pytest.raises(DataError, match="not finite"):
        mesh_of(ball() * torch.nan)


def test_what_leaves_the_cube_is_refused_or_closed():
    field = ball(0.5, (0.0, 0.8, 0.0))
    with pytest.raises(DataError, match=r"unbounded: it leaves the cube .* along y"):
        mesh_of(field)
    closed = mesh_of(field, closed=True)
    assert closed.volume == pytest.approx(float((field < 0).float().mean()) * 8, rel=0.05)
    assert np.abs(closed.vertices).max() <= 1 + 1 / SIDE


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    with pytest.raises(ConfigError, match=r"weightatlas\[shapes\]"):
        mesh_of(ball())


def test_networks_run_on_the_cells():
    network = create_network("siren", coordinates=3, hidden=[4])
    spec = spec_of(network, (3,))
    values = initialize(spec, torch.arange(5), "siren")
    found = grid_values(Population(network, spec, engine="vmap"), values, 6, chunk=2)
    assert found.shape == (5, 6, 6, 6)
    place = (torch.tensor([1.0, 4.0, 2.0]) + 0.5) * 2 / 6 - 1
    alone = Population(network, spec, engine="vmap").outputs_no_grad(values, place[None])
    torch.testing.assert_close(found[:, 1, 4, 2], alone[:, 0, 0])


def test_overlap_of_solids():
    first = torch.tensor([[True, True, False], [False, False, False]])
    second = torch.tensor([[True, False, True], [False, False, False]])
    torch.testing.assert_close(overlap(first, second), torch.tensor([1 / 3, 0.0]))
