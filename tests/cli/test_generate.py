"""generate."""

import importlib
import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from weightatlas.cli import main
from weightatlas.evaluate.diversity import surroundings
from weightatlas.evaluate.exam import exam_of
from weightatlas.latent.sample import choose_anchors
from weightatlas.latent.samplers import SampleConfig, samplers
from weightatlas.networks import create_network
from weightatlas.tasks import Task
from weightatlas.zoo import Zoo


def test_new_networks_load_into_the_module_and_stand_beside_baselines(zoo, run, tmp_path, capsys):
    words = [str(run), str(zoo), "--out", str(tmp_path), "--count", "3", "--select", "sub", "--json"]
    assert main(["generate", *words]) == 0
    records = json.loads(capsys.readouterr().out)
    kinds = {record["kind"] for record in records}
    assert kinds == {"ours", "baseline"}
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 3
    network = create_network("digits_cnn", channels_in=1, image_size=8, classes=10)
    network.load_state_dict(load_file(files[0]), strict=True)
    assert (tmp_path / "results.json").exists()
    found = {(record["method"], record["metric"]): record["value"] for record in records}
    ours, copies = "sane, pca_kde, SUB of 15", "nearest training networks"
    assert found[copies, "copies"] == found["anchors", "copies"] == 1
    assert found[copies, "good and new at 1x"] == 0
    assert found[copies, "accuracy"] == pytest.approx(found[ours, "accuracy of nearest"])
    assert found["anchors", "good"] > 0.5
    assert 0 <= found[ours, "good and new at 1x"] <= found[ours, "good"] <= 1


def test_an_unknown_method_is_a_named_error_and_a_dry_run_writes_nothing(zoo, run, tmp_path, capsys):
    assert main(["generate", str(run), str(zoo), "--out", str(tmp_path), "--method", "magic"]) == 1
    assert "sampling method called 'magic'" in capsys.readouterr().err
    assert main(["generate", str(run), str(zoo), "--out", str(tmp_path), "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_one_network_has_no_variety_and_is_refused_at_once(run, tmp_path, capsys):
    assert main(["generate", str(run), str(tmp_path), "--out", str(tmp_path), "--count", "1"]) == 2
    assert "--count" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--draws 50", "--draws is of --select"),
        ("--select sub --rounds 2", "--rounds is of"),
        ("--select boot --rounds 0 --draws 3", "at least 1, not 0"),
        ("--select boot --draws 3", "to keep 4 networks"),
        ("--select boot --method prior", "--select gauss starts at the prior"),
        ("--select sub --method imitation", "among which --select could choose"),
        ("--method imitation --set steps=3", "neither --bandwidth nor --set"),
        ("--bandwidth 0.1 --set bandwidth=0.2", "given twice"),
    ],
)
def test_flags_that_contradict_each_other_are_named_at_once(words, named, tmp_path, capsys):
    given = [str(tmp_path), str(tmp_path), "--out", str(tmp_path), "--count", "4", *words.split()]
    assert main(["generate", *given]) == 2
    assert named in capsys.readouterr().err


def test_help_names_every_method_and_setting():
    text = importlib.import_module("weightatlas.cli.generate").generate.__doc__
    assert [name for name in samplers.names() if not re.search(rf"\b{name}\b", text)] == []
    assert [name for name in SampleConfig.model_fields if not re.search(rf"\b{name}\s+\(", text)] == []


def test_unknown_settings_of_a_method_are_named(tmp_path, capsys):
    given = [str(tmp_path), str(tmp_path), "--out", str(tmp_path), "--set", "neighbours=2"]
    assert main(["generate", *given]) == 1
    assert "did you mean 'neighbors'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "--select sub --draws 9 --method neighborhood --set neighbors=1",
        "--select boot --rounds 2",
        "--select gauss --set sigma=0.5 components=2",
    ],
)
def test_selecting_sees_validation_images_only_and_puts_the_best_first(
    words, zoo, run, tmp_path, monkeypatch, capsys
):
    split, seen = Task.split, []

    def watched(task, name):
        seen.append(name)
        return split(task, name)

    def unjudged(train, best, made, name, *rest):
        assert seen == ["val"]
        assert words.split()[1].upper() in name
        return []

    monkeypatch.setattr(Task, "split", watched)
    monkeypatch.setattr(importlib.import_module("weightatlas.cli.generate"), "_judge", unjudged)
    given = [str(run), str(zoo), "--out", str(tmp_path), "--count", "3", *words.split(), "--json"]
    assert main(["generate", *given]) == 0
    train = Zoo.open(zoo).split("train")
    exam = exam_of(train.population(), *split(train.task(), "val"))
    made = torch.stack([flat(path, train.spec) for path in sorted(tmp_path.glob("*.safetensors"))])
    kept = exam.accuracy(exam.classes(made))
    assert torch.equal(kept, kept.sort(descending=True).values)
    assert "images on which --select chose" in capsys.readouterr().err


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
