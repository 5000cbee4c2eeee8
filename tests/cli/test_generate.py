"""generate."""

import json

from safetensors.torch import load_file

from weightatlas.cli import main
from weightatlas.networks import create_network


def test_new_networks_load_into_the_module_and_stand_beside_baselines(zoo, run, tmp_path, capsys):
    assert main(["generate", str(run), str(zoo), "--out", str(tmp_path), "--count", "3", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    kinds = {record["kind"] for record in records}
    assert kinds == {"ours", "baseline"}
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 3
    network = create_network("digits_cnn", channels_in=1, image_size=8, classes=10)
    network.load_state_dict(load_file(files[0]), strict=True)
    assert (tmp_path / "results.json").exists()


def test_an_unknown_method_is_a_named_error_and_a_dry_run_writes_nothing(zoo, run, tmp_path, capsys):
    assert main(["generate", str(run), str(zoo), "--out", str(tmp_path), "--method", "magic"]) == 1
    assert "sampling method called 'magic'" in capsys.readouterr().err
    assert main(["generate", str(run), str(zoo), "--out", str(tmp_path), "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_imitations_need_images_but_no_codes(zoo, run, tmp_path, capsys):
    words = [str(run), str(zoo), "--out", str(tmp_path / "new"), "--count", "2", "--method", "imitation"]
    assert main(["generate", *words, "--json"]) == 0
    methods = {record["method"] for record in json.loads(capsys.readouterr().out)}
    assert "imitation" in methods
    assert len(list((tmp_path / "new").glob("*.safetensors"))) == 2
