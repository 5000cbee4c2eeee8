"""Results files as pages: sizes of one family become one curve."""

import pytest

from weightatlas.errors import RunError
from weightatlas.report.bench import of_results, sizes_of
from weightatlas.report.page import render
from weightatlas.results import Record, append_records


def record(method: str, metric: str, value: float, kind: str = "baseline") -> Record:
    about = {"bench": "rebuild", "tier": "smoke", "zoo": "digits", "seeds": (0,)}
    return Record.build({**about, "method": method, "kind": kind, "metric": metric, "value": value})


RECORDS = [
    *(record(f"int{b} per channel", "bits per parameter", b + 0.5) for b in (8, 4)),
    *(record(f"int{b} per channel", "excess agreement", b / 8) for b in (8, 4)),
    record("activation, 2.5 bits per parameter", "bits per parameter", 2.5, "ours"),
    record("activation, 2.5 bits per parameter", "excess agreement", 0.6, "ours"),
    record("no size", "excess agreement", 0.1),
]


def test_methods_that_differ_in_numbers_share_a_curve():
    curves = {curve.method: curve for curve in sizes_of(RECORDS)}
    assert set(curves) == {"int… per channel", "activation, 2.5 bits per parameter"}
    assert curves["int… per channel"].bits.tolist() == [8.5, 4.5]
    assert curves["int… per channel"].excess.tolist() == [1.0, 0.5]
    assert curves["activation, 2.5 bits per parameter"].kind == "ours"


def test_a_results_file_becomes_a_page(tmp_path):
    append_records(tmp_path / "rebuild.json", RECORDS)
    page = render(of_results(tmp_path / "rebuild.json"))
    assert "int… per channel" in page
    assert "<svg" in page


def test_an_empty_file_is_named(tmp_path):
    with pytest.raises(RunError, match="holds no records"):
        of_results(tmp_path / "nothing.json")
