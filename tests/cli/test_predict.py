"""predict."""

import csv
import json

from weightatlas.cli import main


def test_the_baselines_stand_beside_the_encoder(zoo, run, tmp_path, capsys):
    out, head = tmp_path / "p.csv", tmp_path / "head"
    words = ["--run", str(run), "--property", "test_acc", "train_acc", "--out", str(out), "--save", str(head)]
    assert main(["predict", str(zoo), *words, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert {(record["method"], record["kind"]) for record in records} == {
        ("sane + ridge", "ours"),
        ("layer statistics + ridge", "baseline"),
        ("layer statistics + boosting", "baseline"),
    }
    assert len(records) == 3 * 2 * 3
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == records[0]["n"]
    assert (head / "predictor.json").exists()


def test_without_a_run_only_the_baselines_are_shown(zoo, capsys):
    assert main(["predict", str(zoo), "--dry-run", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_an_unknown_property_is_a_named_error(zoo, capsys):
    assert main(["predict", str(zoo), "--property", "test_accuracy"]) == 1
    assert "test_accuracy" in capsys.readouterr().err
