"""inspect."""

import json

import torch
from safetensors.torch import save_file

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
    assert "is not a checkpoint" in capsys.readouterr().err
