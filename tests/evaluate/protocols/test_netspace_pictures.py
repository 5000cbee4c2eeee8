"""Pictures of NetSpace with one architecture come from the tables beside the results."""

from typing import Any

import numpy as np
import torch

from tests.encoders import ladder
from weightatlas.evaluate.protocols import netspace_pictures as module
from weightatlas.evaluate.protocols.netspace_pictures import draw_pictures, draw_preps
from weightatlas.evaluate.protocols.point_tables import beside, keep_points

SPEC = ladder.specs()[1]


def test_every_row_has_a_panel_and_refined_codes_share_it(tmp_path) -> None:
    out, pairs = tmp_path / "r.json", np.array([[0.5, 0.6], [0.9, 0.8]])
    for name in ("mean network", "netspace", "netspace, refined"):
        keep_points(beside(out, "accuracies", "csv"), name, ("original", "rebuilt"), pairs)
        pairs = pairs[:, :1] + 0.01
        pairs = np.hstack([pairs - 0.01, pairs])
    draw_pictures(out, ("netspace",))
    text = (tmp_path / "r-accuracies.svg").read_text()
    for words in ("mean network", "mean gap 0.100<", "mean gap 0.010, refined 0.010<"):
        assert words in text
    assert text.index(">netspace<") < text.index(">mean network<")
    assert "netspace, refined" not in text
    assert not (tmp_path / "r-paths.svg").exists()


def test_codes_stand_above_weights_and_the_band_is_the_middle_half(tmp_path, monkeypatch) -> None:
    from matplotlib.axes import Axes

    bands, drawn = [], Axes.fill_between

    def watched(axis: Axes, at: np.ndarray, low: np.ndarray, high: np.ndarray, **style: Any) -> object:
        bands.append((low, high))
        return drawn(axis, at, low, high, **style)

    monkeypatch.setattr(Axes, "fill_between", watched)
    out, curves = tmp_path / "r.json", np.linspace([0, 0, 0], [1.0, 2, 4], 5)
    for name in ("raw weights", "aligned weights", "netspace"):
        keep_points(beside(out, "paths", "csv"), name, ("0", "0.5", "1"), curves)
    draw_pictures(out, ("netspace",))
    text = (tmp_path / "r-paths.svg").read_text()
    assert "paths between 5 pairs of test networks" in text
    assert text.index(">netspace<") < text.index(">raw weights<") < text.index(">aligned weights<")
    np.testing.assert_allclose(bands[0][0], [0.25, 0.5, 1])
    np.testing.assert_allclose(bands[0][1], [0.75, 1.5, 3])


def test_nothing_is_drawn_without_points(tmp_path) -> None:
    draw_pictures(tmp_path / "r.json", ("netspace",))
    assert not list(tmp_path.iterdir())


def test_images_of_a_network_share_their_limits_and_padding_is_masked(tmp_path, monkeypatch) -> None:
    from matplotlib.axes import Axes

    shown, drawn = [], Axes.imshow

    def watched(axis: Axes, image: np.ma.MaskedArray, **style: Any) -> object:
        shown.append((image, style["vmin"], style["vmax"]))
        return drawn(axis, image, **style)

    monkeypatch.setattr(Axes, "imshow", watched)
    values = ladder.values(1, 2)
    draw_preps(tmp_path / "p.svg", values, values * torch.tensor([[1.0], [3.0]]), SPEC, ("weak", "strong"))
    assert {(low, high) for _, low, high in shown[:3]} == {(-shown[0][2], shown[0][2])}
    assert shown[0][2] != shown[3][2]
    for image, *_ in shown:
        assert image.count() == SPEC.params
        assert image.mask.sum() == image.size - SPEC.params > 0
    first, second, gap = (image for image, *_ in shown[3:])
    np.testing.assert_allclose(first.compressed(), values[1])
    np.testing.assert_allclose((second - first).compressed(), gap.compressed(), rtol=1e-5)
    assert "weak" in (tmp_path / "p.svg").read_text()
    assert module.ENDS == ("original", "rebuilt")
