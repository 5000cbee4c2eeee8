"""Output: results on standard output, the rest on standard error, JSON on request."""

import json
import logging

import numpy as np
import pytest

from tests.report.sample import records
from tests.test_results import record
from weightatlas.cli import console
from weightatlas.errors import FileError
from weightatlas.results import refusal


def test_rows_as_a_table_and_as_json(capsys):
    rows = [{"name": "a", "value": 0.123456, "whole": 12345, "none": None, "yes": True, "many": [1, 2]}]
    console.print_rows(rows, title="Title")
    text = capsys.readouterr().out
    assert all(part in text for part in ("Title", "0.1235", "12,345", "yes", "1, 2"))
    console.print_rows(rows, title="Title", as_json=True)
    assert json.loads(capsys.readouterr().out) == rows


def test_numbers_of_numpy_become_plain_json(capsys):
    console.print_json({"a": np.float32(0.5), "b": np.arange(2), "c": {3, 1}})
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": [0, 1], "c": [1, 3]}


def test_numbers_that_are_not_finite_are_null_in_json(capsys):
    """NaN and Infinity are no JSON, and other programs refuse the whole document."""
    console.print_json({"a": float("nan"), "b": [np.float64("inf"), 1.0], "c": {"d": np.array([np.nan])}})
    text = capsys.readouterr().out
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": [None, 1.0], "c": {"d": [None]}}


def test_records_keep_their_baselines_and_json_has_all_metrics(capsys):
    console.print_records(records(), metrics=("excess agreement",))
    text = capsys.readouterr().out
    assert "random subspace (baseline)" in text
    assert "R2" not in text
    console.print_records(records(), metrics=("excess agreement",), as_json=True)
    assert len(json.loads(capsys.readouterr().out)) == 5


def test_errors_and_notes_go_to_standard_error(capsys):
    console.print_error(FileError("[bold] is not markup", where="In [a]."))
    console.say("x" * 300)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"FileError: [bold] is not markup\n  In [a].\n{'x' * 300}\n"


def test_the_log_is_shown_on_request(capsys):
    console.log_to_stderr(verbose=True)
    logging.getLogger("weightatlas.zoo").info("chose an engine")
    console.log_to_stderr(verbose=False)
    logging.getLogger("weightatlas.zoo").info("not shown")
    assert capsys.readouterr().err == "chose an engine\n"
    logging.getLogger("weightatlas").handlers.clear()


def test_skipped_files_are_told_by_reason_the_most_frequent_first(capsys):
    skipped = {f"{number}.txt": "is text." for number in range(3)} | {"a.pb": "a.pb is a graph."}
    console.say_skipped(skipped)
    assert capsys.readouterr().err.splitlines() == [
        "Skipped 0.txt and 2 more: is text.",
        "Skipped a.pb: it is a graph.",
    ]
    console.say_skipped({f"{number}.pt": f"reason {number}" for number in range(25)}, "all.json")
    assert capsys.readouterr().err.splitlines()[-1] == "… and 5 more for other reasons: all.json"


def test_what_a_line_is_about_is_not_cut_small(capsys):
    name = "runs/2024-01-01/seed-3/checkpoint_last.pt"
    console.print_rows([{"file": name, **{f"column {i}": "some words in a cell" for i in range(12)}}])
    assert name in capsys.readouterr().out


def test_refused_rows_stay_where_columns_are_chosen(capsys):
    about = {"bench": "losses", "tier": "smoke", "zoo": "digits", "seeds": (0,)}
    rows = [refusal("too wide", method="mlp", **about), record(), record(metric="MAE")]
    console.print_records(rows, metrics=("R2",))
    shown = capsys.readouterr().out
    assert "MAE" not in shown
    assert "mlp" in shown
    assert "too wide" in shown
