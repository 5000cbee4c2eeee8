"""reconstruct."""

import json

import pytest
from safetensors.torch import load_file

from weightatlas.cli import main


def test_rebuilt_networks_stand_beside_what_is_trivially_reached(zoo, run, tmp_path, capsys):
    assert main(["reconstruct", str(run), str(zoo), "--out", str(tmp_path), "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    excess = {
        record["method"]: record["value"] for record in records if record["metric"] == "excess agreement"
    }
    assert excess["best of these (a0)"] == 0
    assert excess["sane"] < 1
    assert {"best training network", "nearest training network", "mean network"} <= set(excess)
    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) == next(record["n"] for record in records if record["method"] == "sane")
    assert sum(tensor.numel() for tensor in load_file(files[0]).values()) == 2758


def test_the_table_shows_the_headline_metrics(zoo, run, capsys):
    assert main(["reconstruct", str(run), str(zoo)]) == 0
    text = capsys.readouterr().out
    assert "excess agreement" in text
    assert "mean network (baseline)" in text


def test_a_dry_run_rebuilds_nothing(zoo, run, tmp_path, capsys):
    assert main(["reconstruct", str(run), str(zoo), "--out", str(tmp_path), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["networks"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["train", "all"])
def test_training_networks_have_no_reference_made_of_themselves(zoo, run, capsys, part):
    assert main(["reconstruct", str(run), str(zoo), "--part", part, "--json"]) == 0
    captured = capsys.readouterr()
    records = json.loads(captured.out)
    assert {r["method"] for r in records} == {"sane"}
    assert "agreement" in {r["metric"] for r in records}
    assert "excess agreement" not in {r["metric"] for r in records}
    assert "excess agreement" in captured.err


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_negative_number_of_steps_is_refused(zoo, run, capsys, more):
    assert main(["reconstruct", str(run), str(zoo), "--steps", "-3", *more]) == 1
    assert "steps" in capsys.readouterr().err


def test_refined_codes_behave_more_like_the_originals_and_have_a_row_of_their_own(zoo, run, tmp_path, capsys):
    for extra in ([], ["--steps", "40"]):
        assert main(["reconstruct", str(run), str(zoo), "--out", str(tmp_path), *extra]) == 0
    records = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    found = {r["method"]: r["value"] for r in records if r["metric"] == "KL"}
    assert found["sane, refined"] < 0.9 * found["sane"]
