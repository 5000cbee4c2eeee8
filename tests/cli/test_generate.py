"""generate."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from weightatlas.cli import main
from weightatlas.evaluate.diversity import surroundings
from weightatlas.latent.sample import choose_anchors
from weightatlas.networks import create_network
from weightatlas.zoo import Zoo


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


def test_one_network_has_no_variety_and_is_refused_at_once(run, tmp_path, capsys):
    assert main(["generate", str(run), str(tmp_path), "--out", str(tmp_path), "--count", "1"]) == 2
    assert "--count" in capsys.readouterr().err


def test_settings_out_of_range_are_named(zoo, run, tmp_path, capsys):
    words = [str(run), str(zoo), "--out", str(tmp_path), "--bandwidth", "-1"]
    assert main(["generate", *words]) == 1
    assert "bandwidth" in capsys.readouterr().err


def test_checkpoints_of_one_training_are_no_neighbors_in_the_unit_of_distance(zoo, run, tmp_path, capsys):
    """The zoo's unit is the distance to the nearest network of another lineage, as in the benches."""
    networks = Zoo.open(zoo).split("train")
    words = [str(run), str(zoo), "--out", str(tmp_path), "--count", "2", "--json"]
    assert main(["generate", *words]) == 0
    records = json.loads(capsys.readouterr().out)
    scores = torch.from_numpy(networks.column("val_acc").astype("float32"))
    values, spec = networks.weights().values, networks.spec
    chosen = values[choose_anchors(scores, 0.3)]
    numbers = np.unique(networks.column("lineage"), return_inverse=True)[1]
    around = surroundings(values, spec, chosen[0], torch.from_numpy(numbers))
    made = torch.stack([flat(path, spec) for path in sorted(tmp_path.glob("*.safetensors"))])
    distance = around.train.nearest(made)[0].mean() / around.unit
    (found,) = [
        r["value"] for r in records if r["kind"] == "ours" and r["metric"] == "nearest training network"
    ]
    assert found == pytest.approx(float(distance), rel=1e-3)


def flat(path, spec):
    state = load_file(path)
    return torch.cat([state[tensor.name].flatten() for tensor in spec.tensors])


def test_imitations_need_images_but_no_codes(zoo, run, tmp_path, capsys):
    words = [str(run), str(zoo), "--out", str(tmp_path / "new"), "--count", "2", "--method", "imitation"]
    assert main(["generate", *words, "--json"]) == 0
    methods = {record["method"] for record in json.loads(capsys.readouterr().out)}
    assert "imitation" in methods
    assert len(list((tmp_path / "new").glob("*.safetensors"))) == 2
