"""optimize."""

import json

from weightatlas.cli import main

METHODS = {"sane", "all weights", "random subspace, same size"}


def test_codes_stand_beside_weights_and_a_subspace(zoo, run, tmp_path, capsys):
    words = ["optimize", str(run), str(zoo), "--steps", "12", "--out", str(tmp_path), "--json"]
    assert main(words) == 0
    records = json.loads(capsys.readouterr().out)
    named = {(r["method"], r["metric"]): r["value"] for r in records}
    assert {method for method, _ in named} == METHODS
    for method in METHODS:
        assert 0 <= named[method, "accuracy"] <= 1
    assert named["all weights", "accuracy"] > named["all weights", "initial accuracy"]
    assert named["all weights", "numbers moved"] == 2758
    start = named["all weights", "initial accuracy"]
    assert named["random subspace, same size", "initial accuracy"] == start > 0.2  # that of the networks
    assert len(list(tmp_path.glob("*.safetensors"))) == records[0]["n"]


def test_no_steps_are_refused(zoo, run, capsys):
    assert main(["optimize", str(run), str(zoo), "--steps", "0"]) == 1
    assert "'steps' = 0" in capsys.readouterr().err


def test_a_dry_run_optimizes_nothing(zoo, run, tmp_path, capsys):
    assert main(["optimize", str(run), str(zoo), "--out", str(tmp_path), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 100
    assert list(tmp_path.iterdir()) == []
