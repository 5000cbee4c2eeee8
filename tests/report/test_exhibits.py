"""Figures of a bench come from its records alone."""

import xml.etree.ElementTree as ET
from pathlib import Path

from weightatlas.report.exhibits import _AT as AT
from weightatlas.report.exhibits import apart, draw, gathered, write_beside
from weightatlas.results import Record


def records(metric: str, values: dict, method: str = "CSB", **changes: object) -> list[Record]:
    about = {"bench": "b", "tier": "smoke", "zoo": "z", "method": method, "seeds": (0,), **changes}
    return [
        Record.build({**about, "metric": metric.format(place), "value": v}) for place, v in values.items()
    ]


QUANTILES = {5: 0.1, 25: 0.2, 50: 0.3, 75: 0.4, 95: 0.5}


def test_distributions_of_one_number_share_a_panel():
    rows = records("accuracy at {} %", QUANTILES, "zoo") + records("accuracy, rebuilt at {} %", QUANTILES)
    found = gathered(rows, AT, "percent")
    assert list(found) == ["accuracy"]
    assert list(found["accuracy"]) == ["zoo", "CSB, rebuilt"]
    assert found["accuracy"]["zoo"] == {float(q): v for q, v in QUANTILES.items()}


def test_boxes_and_curves_are_drawn_and_named():
    rows = records("L2 at {} %", QUANTILES) + records("R2 after pass {}", {1: 0.2, 2: 0.4}, "CS")
    text = draw(rows, "an exhibit")
    assert text is not None
    for word in ("L2: 5, 25, 50, 75, 95 %", "CSB", "R2", "CS", "pass or epoch", 'aria-label="an exhibit"'):
        assert word in text
    assert draw(records("R2 after pass {}", {1: 0.2}), "one point is no curve") is None
    assert draw(records("L2 at {} %", {50: 1.0}), "one quantile is no distribution") is None
    assert draw(records("m{}", {1: 2.0}), "neither") is None


def test_amounts_of_data_are_drawn_by_ratios():
    rows = records("MSE with {} networks", {100: 2.0, 1000: 0.1}, "SNE")
    text = draw(rows, "learning curves")
    assert text is not None
    for word in ("training networks", ">100<", ">1,000<", ">0.2<"):
        assert word in text


def test_seeds_are_averaged_and_published_numbers_left_out():
    two = records("L2 at {} %", QUANTILES) + records("L2 at {} %", dict.fromkeys(QUANTILES, 0.9), seeds=(1,))
    paper = records("L2 at {} %", QUANTILES, "paper", kind="published", seeds=())
    text = draw([*two, *paper], "two seeds")
    assert text is not None
    assert "paper" not in text
    assert text == draw(two, "two seeds") != draw(records("L2 at {} %", QUANTILES), "two seeds")


def test_a_figure_is_a_document_beside_its_results(tmp_path: Path):
    rows = records("accuracy after {}", {0: 0.1, 1: 0.5})
    path = write_beside(tmp_path / "r.json", rows, "curves <b> & more")
    assert path is not None
    assert path == tmp_path / "r.svg"
    root = ET.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "--c1: #" in path.read_text()
    assert write_beside(tmp_path / "s.json", records("m{}", {1: 2.0}), "nothing") is None
    assert not (tmp_path / "s.svg").exists()


def test_sorts_of_methods_have_panels_of_their_own():
    rows = {"mnist: made": {0.0: 0.1}, "letters: made": {0.0: 0.2}, "letters: zoo": {0.0: 0.3}}
    assert apart({"accuracy": rows}) == {
        "mnist: accuracy": {"made": {0.0: 0.1}},
        "letters: accuracy": {"made": {0.0: 0.2}, "zoo": {0.0: 0.3}},
    }
    one = {"accuracy": {"new head: made": {0.0: 0.1}, "new head: zoo": {0.0: 0.2}}}
    assert apart(one) == one
