"""fit METHOD: flags of the method and of the loop."""

import json

import pytest

from weightatlas.cli import main
from weightatlas.encoders.io import encoders
from weightatlas.predict.job import is_supervised


def test_a_run_holds_what_later_verbs_need(run):
    assert (run / "encoder" / "config.json").exists()
    assert (run / "metrics.jsonl").exists()
    assert (run / "config.yaml").exists()


def test_the_same_command_returns_the_finished_run(zoo, run, capsys):
    words = ["--zoo", str(zoo), "--out", str(run), "--steps", "4", "--dim", "16", "--layers", "1", "--json"]
    assert main(["fit", "sane", *words]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 4


STRUCTURED = {"ladder", "settings"}  # layouts, and settings of another encoder: given in Python, not as flags


@pytest.mark.parametrize("method", encoders.names())
def test_every_method_has_flags(method, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["fit", method, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Example:\n  weightatlas fit {method}")
    fields = encoders.get(method).Settings.model_fields  # type: ignore[attr-defined]
    names = [name.replace("_", "-") for name in fields if name not in STRUCTURED]
    missing = [name for name in names if f"--{name}" not in text and f"--no-{name}" not in text]
    assert not missing
    trained = not encoders.get(method).closed_form  # type: ignore[attr-defined]
    assert ("--property" in text) == is_supervised(method)
    assert ("--passes" in text) == trained
    assert ("--loss.gamma" in text) == trained


def test_contradicting_flags_are_wrong_usage(zoo, tmp_path, capsys):
    assert main(["fit", "sane", "--zoo", str(zoo), "--out", str(tmp_path / "r")]) == 2
    assert "exactly one of passes, steps and minutes" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_what_is_fitted_in_closed_form_needs_no_length(zoo, tmp_path, capsys):
    words = ["fit", "pca", "--zoo", str(zoo), "--latent", "3", "--json"]
    assert main([*words, "--out", str(tmp_path / "r")]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 0
    assert (tmp_path / "r" / "encoder" / "config.json").exists()
    assert main([*words, "--out", str(tmp_path / "many"), "--sweep", "latent=[2,3]"]) == 0
    assert [line["run"] for line in json.loads(capsys.readouterr().out)] == ["latent=2", "latent=3"]
    with pytest.raises(SystemExit) as caught:
        main([*words, "--out", str(tmp_path / "s"), "--passes", "3"])
    assert caught.value.code == 2
    assert "--passes" in capsys.readouterr().err


def test_an_unknown_method_suggests_the_nearest(capsys):
    assert main(["fit", "sana", "--zoo", "z", "--out", "r"]) == 1
    assert "Did you mean 'sane'?" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(zoo, tmp_path, capsys):
    words = ["--zoo", str(zoo), "--out", str(tmp_path / "r"), "--steps", "1", "--dry-run", "--json"]
    assert main(["fit", "sane", *words]) == 0
    assert json.loads(capsys.readouterr().out)["parameters of a network"] == 2758
    assert not (tmp_path / "r").exists()


def test_settings_of_another_run_are_defaults(zoo, run, tmp_path, capsys):
    config = str(run / "config.yaml")
    words = ["--zoo", str(zoo), "--out", str(tmp_path / "r"), "--config", config, "--dry-run"]
    assert main(["fit", "sane", *words]) == 0
    assert main(["fit", "sane", "--config"]) == 1
    assert "--config needs a YAML file" in capsys.readouterr().err


def test_presets_are_defaults_that_flags_change(zoo, tmp_path, capsys):
    words = ["--zoo", str(zoo), "--out", str(tmp_path / "r"), "--dry-run", "--json"]
    sizes = []
    for more in (["--preset", "sane_small"], ["--preset=sane_small", "--latent", "5"]):
        assert main(["fit", "sane", *more, *words]) == 0
        sizes.append(json.loads(capsys.readouterr().out)["encoder parameters"])
    assert sizes[1] < sizes[0]
    assert main(["fit", "sne", "--preset", "sane_small", *words]) == 1
    assert "Write: weightatlas fit sane --preset sane_small" in capsys.readouterr().err
    assert main(["fit", "sane", "--preset", "sane_smal", *words]) == 1
    assert "no encoder preset 'sane_smal'" in capsys.readouterr().err


def test_an_encoder_without_decoder_is_trained_on_properties(zoo, supervised, capsys):
    assert (supervised / "predictor.json").exists()
    assert (supervised / "encoder" / "config.json").exists()
    words = ["--zoo", str(zoo), "--out", str(supervised), "--steps", "4", "--width", "8", "--layers", "1"]
    assert main(["fit", "deep_sets", *words, "--property", "test_acc", "train_acc", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["steps"] == 4
    assert facts["properties"] == "test_acc, train_acc"


def test_presets_of_supervised_encoders_set_the_head_and_the_regularizer(zoo, tmp_path, capsys):
    words = ["--zoo", str(zoo), "--out", str(tmp_path / "r"), "--dry-run", "--json"]
    assert main(["fit", "sne", "--preset", "sne_paper", *words]) == 0
    assert json.loads(capsys.readouterr().out)["properties"] == "test_acc"
    with pytest.raises(SystemExit):
        main(["fit", "sne", "--preset", "sne_paper", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(default: 0.1)" in text
    assert "(default: 1000 1000)" in text


def test_a_property_no_network_has_is_a_named_error(zoo, tmp_path, capsys):
    words = ["--zoo", str(zoo), "--out", str(tmp_path / "r"), "--steps", "1", "--property", "test_accuracy"]
    assert main(["fit", "deep_sets", *words]) == 1
    assert "test_accuracy" in capsys.readouterr().err


def test_a_sweep_of_properties_trains_every_combination(zoo, tmp_path, capsys):
    words = ["--zoo", str(zoo), "--out", str(tmp_path / "r"), "--steps", "1", "--width", "4", "--layers", "1"]
    assert main(["fit", "deep_sets", *words, "--sweep", "seed=[0,1]", "--json"]) == 0
    assert [line["run"] for line in json.loads(capsys.readouterr().out)] == ["seed=0", "seed=1"]
    assert (tmp_path / "r" / "seed=1" / "predictor.json").exists()
