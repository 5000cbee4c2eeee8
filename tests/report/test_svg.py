"""SVG: no document around it, no repeated ids, the page's colors."""

import re

import matplotlib as mpl

from weightatlas.report import svg


def figure(label: str) -> str:
    with svg.style():
        drawing, (axes,) = svg.panels(1)
        axes.plot([0, 1], [0, 1], color=svg.SERIES[1], label="line")
        axes.set_title("a < b & c")
        return svg.to_svg(drawing, label)


def test_an_svg_element_and_nothing_around_it():
    text = figure("a line")
    assert text.startswith('<svg viewBox="')
    assert text.endswith("</svg>")
    assert 'aria-label="a line"' in text
    assert "<metadata" not in text
    assert "<!--" not in text
    assert "a &lt; b &amp; c" in text


def test_only_ids_that_are_used_are_kept():
    text = figure("a line")
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert all(f"#{name}" in text for name in ids)


def test_ids_of_different_figures_differ():
    first, second = (set(re.findall(r' id="([^"]+)"', figure(name))) for name in ("one", "two"))
    assert first
    assert not first & second


def test_colors_are_left_to_the_page():
    text = figure("a line")
    assert "var(--c2)" in text
    assert "var(--ink)" in text
    assert svg.SERIES[1] not in text


def test_labels_are_escaped_and_settings_are_restored():
    before = dict(mpl.rcParams)
    assert 'aria-label="1 &lt; 2 &quot;x&quot;"' in figure('1 < 2 "x"')
    assert dict(mpl.rcParams) == before
