"""Plots are documents of their own, equal for equal numbers, and never half-written."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from weightatlas.evaluate.plots import hide, plot


def drawn(path: Path, height: float = 1.0) -> str:
    with plot(path, 1, 2, (4, 2), sharey=True) as (figure, axes):
        axes[0, 0].plot([0, 1], [0, height], label="a line")
        hide(axes, 1)
        figure.legend(*axes[0, 0].get_legend_handles_labels())
    return path.read_text()


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    text = drawn(tmp_path / "a.svg")
    assert text == drawn(tmp_path / "b" / "a.svg") != drawn(tmp_path / "a.svg", 0.5)
    assert ET.fromstring(text).tag.endswith("svg")
    assert "a line" in text
    assert "dc:date" not in text


def test_an_error_leaves_no_file_and_no_style_behind(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = mpl.rcParams["svg.fonttype"]
    with pytest.raises(ZeroDivisionError), plot(tmp_path / "a.svg", 1, 1, (2, 2)):
        _ = 1 / 0
    assert not list(tmp_path.iterdir())
    assert mpl.rcParams["svg.fonttype"] == before
