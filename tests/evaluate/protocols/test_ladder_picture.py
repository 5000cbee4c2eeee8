"""Codes and paths of several architectures: kept as points, drawn again from them, two panels a training."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.encoders import ladder
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.netspace import NetSpace
from weightatlas.evaluate.protocols.ladder_picture import (
    Space,
    draw_ladder,
    draw_spaces,
    keep_space,
    principal,
    space_of,
)
from weightatlas.evaluate.protocols.point_tables import beside, kept_points

NAMES = ("LeNet", "plain CNN", "ResNet8", "ResNet32")


def space(seed: int = 0) -> Space:
    rng = np.random.default_rng(seed)
    accuracy = np.linspace(0.6, 0.9, 31)
    return Space(rng.normal(size=(16, 2)), np.repeat(np.arange(4), 4), accuracy, np.arange(31) * 4 // 31)


def test_principal_components_keep_the_distances_of_a_plane() -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(9, 2)) * [3, 1]
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0][:2]
    found = principal(flat @ axes + 5)
    far = lambda points: np.linalg.norm(points[:, None] - points[None], axis=2)  # noqa: E731
    np.testing.assert_allclose(far(found), far(flat))
    assert found[:, 0].var() > found[:, 1].var()


def test_every_place_of_a_path_is_run_as_what_it_is_predicted_to_be() -> None:
    encoder = create_encoder("netspace", ladder=ladder.specs(), dim=6, width=8, hidden=8)
    assert isinstance(encoder, NetSpace)
    encoder.adapt(ladder.batch())
    asked = []

    def accuracy(rung: int, codes: torch.Tensor) -> torch.Tensor:
        asked.append(len(codes))
        assert (encoder.classes(codes) == rung).all()
        return torch.full((len(codes),), 0.1 * rung)

    found = space_of(encoder, ladder.batch((3, 2, 4)).groups, accuracy, 11)
    assert found.codes.shape == (9, 2)
    assert found.classes.shape == (9,)
    assert sum(asked) == 11
    np.testing.assert_allclose(found.accuracy, 0.1 * found.between, rtol=1e-6)


def test_every_training_and_architecture_is_named(tmp_path) -> None:
    path = tmp_path / "f.svg"
    draw_ladder(path, {"all architectures": space(), "smallest and largest only": space(1)}, NAMES)
    text = path.read_text()
    for words in (*NAMES, "all architectures: codes", "smallest and largest only: path", "test accuracy"):
        assert words in text


def test_stars_stand_where_architectures_are_asked_for(tmp_path, monkeypatch) -> None:
    from matplotlib.axes import Axes

    stars, drawn = [], Axes.plot

    def watched(axis: Axes, *given: Any, **style: Any) -> object:
        if isinstance(given[-1], str) and given[-1] == "*" and np.ndim(given[0]) == 0:
            stars.append((float(given[0]), float(given[1])))
        return drawn(axis, *given, **style)

    monkeypatch.setattr(Axes, "plot", watched)
    draw_ladder(tmp_path / "f.svg", {"all": space()}, NAMES)
    assert stars == [(pytest.approx(1 / 3), pytest.approx(0.7)), (pytest.approx(2 / 3), pytest.approx(0.8))]


def test_pictures_are_drawn_again_from_what_was_kept(tmp_path) -> None:
    out = tmp_path / "r.json"
    draw_spaces(out, NAMES, ("a", "b"))
    assert not list(tmp_path.iterdir())
    for row, seed in (("b", 5), ("a", 0), ("b", 1)):
        keep_space(out, row, space(seed))
    _, codes = kept_points(beside(out, "codes", "csv"))
    np.testing.assert_allclose(codes["b"][:, :2], space(1).codes, atol=1e-4)
    draw_spaces(out, NAMES, ("a", "b", "never trained"))
    text = (tmp_path / "r-space.svg").read_text()
    assert text.index("a: codes") < text.index("b: codes")
    assert "never trained" not in text
