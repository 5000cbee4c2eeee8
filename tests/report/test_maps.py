"""Points are drawn from three sides, a row per method."""

from pathlib import Path

import numpy as np

from weightatlas.report.exhibits import write_beside
from weightatlas.report.maps import draw_maps, inside

TABLE = """method,zoo,x,y,z
SNE,mnist,0,1,2
SNE,letters,1,0,2
MLP,mnist,3,1,2
MLP,letters,1,4,2
"""


def test_every_method_and_zoo_is_named_and_every_view_drawn(tmp_path: Path) -> None:
    path = tmp_path / "r-points.csv"
    path.write_text(TABLE)
    text = draw_maps(path, "a map")
    for word in ("SNE", "MLP", "mnist", "letters", 'aria-label="a map"'):
        assert word in text
    alone = draw_maps_of(tmp_path, TABLE.splitlines()[:3])
    assert text.count("<use") > 1.5 * alone.count("<use")
    assert "MLP" not in alone


def test_points_far_out_stand_at_the_edge() -> None:
    points = np.stack([np.linspace(0, 1, 100), np.linspace(0, 1, 100)], 1)
    points[3] = 50, -50
    found = inside(points)
    assert 1 < found[3, 0] < 2
    assert -1 < found[3, 1] < 0
    np.testing.assert_array_equal(found[4:], points[4:])


def draw_maps_of(folder: Path, lines: list[str]) -> str:
    path = folder / "few.csv"
    path.write_text("\n".join(lines) + "\n")
    return draw_maps(path, "few")


def test_points_beside_results_become_their_figure(tmp_path: Path) -> None:
    (tmp_path / "r-points.csv").write_text(TABLE)
    path = write_beside(tmp_path / "r.json", [], "points")
    assert path == tmp_path / "r.svg"
    assert write_beside(tmp_path / "s.json", [], "nothing") is None
