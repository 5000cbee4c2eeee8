"""predict."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest

from weightatlas.cli import main
from weightatlas.cli import predict as module
from weightatlas.predict import committee


def test_the_baselines_stand_beside_the_encoder(zoo, run, tmp_path, capsys):
    out, head = tmp_path / "p.csv", tmp_path / "head"
    words = ["--run", str(run), "--property", "test_acc", "train_acc", "--out", str(out), "--save", str(head)]
    assert main(["predict", str(zoo), *words, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert {(record["method"], record["kind"]) for record in records} == {
        ("sane + ridge", "ours"),
        ("layer statistics + ridge", "baseline"),
        ("layer statistics + boosting", "baseline"),
        ("deep statistics + committee", "ours"),
    }
    assert len(records) == 4 * 2 * 3
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == records[0]["n"]
    assert (head / "predictor.json").exists()


def test_without_a_run_only_statistics_are_shown(zoo, capsys):
    assert main(["predict", str(zoo), "--dry-run", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3


def test_an_unknown_property_is_a_named_error(zoo, capsys):
    assert main(["predict", str(zoo), "--property", "test_accuracy"]) == 1
    assert "test_accuracy" in capsys.readouterr().err


def test_a_table_of_predictions_keeps_names_with_commas(tmp_path):
    columns = {"id": np.array(["a, b.pt", 'c "d".pt']), "test_acc": np.array([0.5, 0.25])}
    test = SimpleNamespace(column=columns.__getitem__)
    module._write(tmp_path / "p.csv", test, ("test_acc",), {"test_acc, sane": [0.1, 0.2]})
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["id"] for row in rows] == ["a, b.pt", 'c "d".pt']
    assert [float(row["test_acc, sane"]) for row in rows] == [0.1, 0.2]


@pytest.mark.parametrize("level", ["0", "1", "90"])
def test_a_level_that_is_no_share_is_wrong_usage(zoo, capsys, level):
    assert main(["predict", str(zoo), "--level", level]) == 2
    assert f"not {level}" in capsys.readouterr().err


def test_a_supervised_run_predicts_with_its_own_head(zoo, supervised, tmp_path, capsys):
    assert main(["predict", str(zoo), "--run", str(supervised), "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert {record["metric"].split()[0] for record in records} == {"test_acc", "train_acc"}
    assert "deep_sets" in {record["method"] for record in records if record["kind"] == "ours"}
    assert main(["predict", str(zoo), "--run", str(supervised), "--property", "test_acc"]) == 1
    assert "was trained on test_acc, train_acc, not on test_acc" in capsys.readouterr().err


def test_grades_say_how_often_intervals_hold(zoo, supervised, tmp_path, capsys):
    out, folder = tmp_path / "grades.csv", tmp_path / "saved"
    words = ["--run", str(supervised), "--grade", "--level", "0.5", "--out", str(out), "--save", str(folder)]
    assert main(["predict", str(zoo), *words, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    shares = {r["metric"]: r["value"] for r in records if r["method"] == "deep_sets"}
    assert 0 <= shares["test_acc abstained"] <= 1
    if shares["test_acc abstained"] < 1:
        assert 0 <= shares["test_acc coverage"] <= 1
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    row = rows[0]
    assert float(row["test_acc, deep_sets, low"]) <= float(row["test_acc, deep_sets, high"])
    assert (folder / "grader.json").exists()
    assert (supervised / "grader.json").exists()  # where `inspect --run` looks for it


def test_in_a_zoo_of_several_layouts_statistics_are_pooled_and_what_refuses_is_a_dash(
    park, run, monkeypatch, capsys
):
    monkeypatch.setattr(committee, "ROUNDS", 5)
    monkeypatch.setattr(committee, "TREES", 5)
    assert main(["predict", str(park.zoo), "--run", str(run), "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert {record["method"] for record in records if record["value"] is not None} == {
        "pooled statistics + ridge",
        "pooled statistics + boosting",
        "pooled statistics + committee",
    }
    (refused,) = (record for record in records if record["value"] is None)
    assert refused["method"] == "sane + ridge"
    assert "was made for layout" in refused["note"]


def test_text_is_a_class_beside_the_most_frequent_and_rates_are_logarithms(
    park, tmp_path, monkeypatch, capsys
):
    for module_name in ("committee", "classify"):
        monkeypatch.setattr(f"weightatlas.predict.{module_name}.ROUNDS", 5)
        monkeypatch.setattr(f"weightatlas.predict.{module_name}.TREES", 5)
    words = ["predict", str(park.zoo), "--property", "test_acc", "hp.variant", "--kinds", "hp.variant=class"]
    assert main([*words, "--json", "--out", str(tmp_path / "p.csv")]) == 0
    records = json.loads(capsys.readouterr().out)
    accuracy = {r["method"]: r["value"] for r in records if r["metric"] == "hp.variant accuracy"}
    assert set(accuracy) == {
        "pooled statistics + ridge",
        "pooled statistics + boosting",
        "pooled statistics + committee",
        "most frequent class",
    }
    assert accuracy["pooled statistics + committee"] > accuracy["most frequent class"]
    (row, *_) = csv.DictReader((tmp_path / "p.csv").read_text(encoding="utf-8").splitlines())
    assert row["hp.variant, pooled statistics + ridge"] in {"0", "1", "2"}
    assert main([*words, "--save", str(tmp_path / "s")]) == 2
    assert "either classes or numbers" in capsys.readouterr().err
