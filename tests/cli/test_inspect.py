"""inspect."""

import json

import torch
from safetensors.torch import load_file, save_file

from weightatlas.cli import main


def test_tensors_and_parameters_are_listed(tmp_path, capsys):
    path = tmp_path / "a.pt"
    torch.save({"state_dict": {"module.w": torch.tensor([[1.0, 3.0]]), "module.n": torch.tensor(3)}}, path)
    assert main(["inspect", str(path), "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["parameters"] == 2
    assert report["opened"] == ["state_dict"]
    rows = {row["name"]: row for row in report["rows"]}
    assert (rows["w"]["mean"], rows["w"]["std"], rows["w"]["shape"]) == (2.0, 1.0, "1 × 2")
    assert rows["n"]["mean"] is None


def test_values_that_are_not_finite_fail(tmp_path, capsys):
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_file({"w": torch.ones(2)}, good)
    save_file({"w": torch.tensor([1.0, float("nan"), float("inf")])}, bad)
    assert main(["inspect", str(good)]) == 0
    assert main(["inspect", str(good), str(bad), "--json"]) == 1
    reports = json.loads("[" + capsys.readouterr().out.split("\n[", 1)[1])
    assert [report["not finite"] for report in reports] == [0, 2]
    assert reports[1]["rows"][0]["max"] == 1.0


def test_what_is_no_checkpoint_is_a_named_error(tmp_path, capsys):
    path = tmp_path / "a.pt"
    path.write_text("hello", encoding="utf-8")
    assert main(["inspect", str(path)]) == 1
    assert "is text, not a checkpoint" in capsys.readouterr().err


def test_a_folder_is_one_table_with_reasons_and_a_page(tmp_path, capsys):
    folder = tmp_path / "files"
    folder.mkdir()
    for seed in range(3):
        torch.manual_seed(seed)
        save_file(
            {"0.weight": torch.rand(8, 4), "0.bias": torch.rand(8), "2.weight": torch.rand(2, 8)},
            folder / f"{seed}.safetensors",
        )
    (folder / "notes.txt").write_text("not a checkpoint")
    page = tmp_path / "page.html"
    assert main(["inspect", str(folder), "--html", str(page), "--explain"]) == 0
    captured = capsys.readouterr()
    assert "MLP 4-8-2" in captured.out
    assert "3 of 3" in captured.out
    assert "chain of 2 layers" in captured.out
    assert "notes.txt" in captured.err
    assert page.read_text().startswith("<!doctype html>")
    assert main(["inspect", str(folder), "--json", "--no-spectra"]) == 0
    reports = json.loads(capsys.readouterr().out)
    assert [report["family"] for report in reports] == ["MLP 4-8-2"] * 3
    assert reports[0]["alpha"] is None


def test_an_estimate_comes_with_its_interval(zoo, tmp_path, capsys):
    run, files = tmp_path / "run", tmp_path / "files"
    assert main(["predict", str(zoo), "--save", str(run)]) == 0
    assert main(["zoo", "export", str(zoo), str(files), "--part", "test", "--json"]) == 0
    capsys.readouterr()
    assert main(["inspect", str(files), "--run", str(run), "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)
    (estimate,) = reports[0]["estimates"]
    assert estimate["property"] == "test_acc"
    assert 0 <= estimate["value"] <= 1 or estimate["reason"]
    other = tmp_path / "other.safetensors"
    save_file({"w": torch.rand(3, 3)}, other)
    assert main(["inspect", str(other), "--run", str(run), "--json"]) == 0
    ((report,)) = json.loads(capsys.readouterr().out)
    assert "fitted on layout" in report["estimates"][0]["reason"]


def test_a_run_without_a_predictor_fails_at_once(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "any.pt"), "--run", str(tmp_path)]) == 1
    assert "no fitted predictor" in capsys.readouterr().err


def test_many_networks_are_summed_up_by_architecture(tmp_path, capsys):
    for number in range(41):
        width = 5 if number % 4 else 7
        weights = {"0.weight": torch.randn(width, 9), "2.weight": torch.randn(3, width)}
        save_file(weights, tmp_path / f"{number}.safetensors")
    assert main(["inspect", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("MLP 9-") == 4  # a line for each of two architectures, and both in the facts
    assert "40.safetensors" not in shown
    assert main(["inspect", str(tmp_path), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 41


def test_strangers_are_turned_away_by_a_run_that_was_graded(zoo, tmp_path, capsys):
    plain, graded, files = tmp_path / "plain", tmp_path / "graded", tmp_path / "files"
    assert main(["predict", str(zoo), "--save", str(plain)]) == 0
    assert main(["predict", str(zoo), "--grade", "--level", "0.5", "--save", str(graded)]) == 0
    assert main(["zoo", "export", str(zoo), str(files), "--part", "test", "--json"]) == 0
    known = sorted(files.glob("**/*.safetensors"))[0]
    stranger = tmp_path / "stranger.safetensors"
    save_file({name: 5 * torch.randn_like(value) for name, value in load_file(known).items()}, stranger)
    capsys.readouterr()
    assert main(["inspect", str(stranger), "--run", str(plain), "--json"]) == 0
    told = capsys.readouterr()
    assert "does not recognize strangers" in told.err
    assert not json.loads(told.out)[0]["estimates"][0]["graded"]
    assert main(["inspect", str(stranger), "--run", str(graded), "--json"]) == 0
    told = capsys.readouterr()
    assert told.err.count("strangers") == 0  # it runs the networks, whose code the registry knows
    (estimate,) = json.loads(told.out)[0]["estimates"]
    assert estimate["value"] is None
    assert "unlike the networks" in estimate["reason"]
