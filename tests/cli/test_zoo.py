"""zoo populate | import | info | verify | export."""

import json

import pytest
from safetensors.torch import load_file

from weightatlas.cli import main
from weightatlas.zoo import Zoo


def test_populate_again_trains_nothing_and_info_counts(zoo, capsys):
    before = sorted(path.stat().st_mtime_ns for path in (zoo / "weights").iterdir())
    assert main(["zoo", "populate", "digits", "--tier", "smoke", "--out", str(zoo), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["networks"], facts["rows"], facts["parameters"]) == (24, 48, [2758])
    assert sorted(path.stat().st_mtime_ns for path in (zoo / "weights").iterdir()) == before
    assert main(["zoo", "info", str(zoo)]) == 0
    assert "test_acc" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    words = [
        "digits",
        "--tier",
        "smoke",
        "--out",
        str(tmp_path / "zoo"),
        "--set",
        "count=5",
        "--dry-run",
        "--json",
    ]
    assert main(["zoo", "populate", *words]) == 0
    assert json.loads(capsys.readouterr().out)["networks"] == 5
    assert not (tmp_path / "zoo").exists()


def test_wrong_settings_are_named(tmp_path, capsys):
    words = ["digits", "--out", str(tmp_path / "zoo"), "--set", "grid.lrr=3", "--dry-run"]
    assert main(["zoo", "populate", *words]) == 1
    assert "unknown key 'grid.lrr'" in capsys.readouterr().err


def test_verify_finds_nothing_in_a_whole_zoo(zoo, capsys):
    assert main(["zoo", "verify", str(zoo), "--sample", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"]
    assert found["rescored"] == 4


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_verify_finds_damage(zoo, tmp_path, capsys, damage):
    import shutil

    copy = tmp_path / "zoo"
    shutil.copytree(zoo, copy)
    shard = next((copy / "weights").glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content if damage == "flipped" else content[:-100])
    assert main(["zoo", "verify", str(copy)]) == 1
    assert shard.name in capsys.readouterr().err


def test_verify_can_rebuild_the_index(zoo, tmp_path):
    import shutil

    copy = tmp_path / "zoo"
    shutil.copytree(zoo, copy)
    (copy / "networks.parquet").unlink()
    assert main(["zoo", "verify", str(copy), "--rebuild", "--sample", "0"]) == 0
    assert (copy / "networks.parquet").exists()


def test_export_and_import_give_the_same_networks(zoo, tmp_path, capsys):
    out, again = tmp_path / "files", tmp_path / "again"
    assert main(["zoo", "export", str(zoo), str(out), "--where", "epoch=4", "--json"]) == 0
    paths = json.loads(capsys.readouterr().out)
    assert len(paths) == 24
    words = ["--network", "digits_cnn", "--task", "digits", "--metrics", str(out / "networks.csv")]
    assert main(["zoo", "import", str(out), *words, "--out", str(again)]) == 0
    original, copy = Zoo.open(zoo).filter(epoch=4), Zoo.open(again)
    assert sorted(original.column("test_acc")) == sorted(copy.column("test_acc"))
    assert sorted(original.column("lineage")) == sorted(copy.column("lineage"))
    first = load_file(paths[0])
    assert sum(tensor.numel() for tensor in first.values()) == 2758


def test_dry_runs_of_export_and_import_write_nothing(zoo, tmp_path, capsys):
    assert main(["zoo", "export", str(zoo), str(tmp_path / "a"), "--part", "test", "--dry-run"]) == 0
    words = ["--network", "digits_cnn", "--out", str(tmp_path / "b"), "--dry-run"]
    assert main(["zoo", "import", str(zoo), *words]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_zoo_is_a_named_error(tmp_path, capsys):
    assert main(["zoo", "info", str(tmp_path)]) == 1
    assert "is not a zoo" in capsys.readouterr().err


def test_a_messy_folder_becomes_a_zoo_without_code(tmp_path, capsys):
    import torch

    folder = tmp_path / "files"
    folder.mkdir()
    for width in (4, 4, 6):
        network = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.ReLU(), torch.nn.Linear(width, 2))
        torch.save(network.state_dict(), folder / f"{len(list(folder.iterdir()))}.pt")
    (folder / "notes.txt").write_text("not a checkpoint")
    assert main(["zoo", "import", str(folder), "--out", str(tmp_path / "zoo"), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 3
    assert main(["zoo", "import", str(folder), "--out", str(tmp_path / "zoo")]) == 0
    captured = capsys.readouterr()
    assert "75% of 4 files" in captured.out
    assert "MLP 3-4-2" in captured.out
    assert "notes.txt" in captured.err
    assert len(Zoo.open(tmp_path / "zoo").specs) == 2


def test_a_published_zoo_is_recognized_and_its_coverage_printed(tmp_path, capsys):
    from tests.zoo.importers.fixtures import small_cnn_zoo

    small_cnn_zoo(tmp_path / "cifar10", runs=2)
    words = ["zoo", "import", str(tmp_path / "cifar10"), "--out", str(tmp_path / "zoo")]
    assert main([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "unterthiner"
    assert not (tmp_path / "zoo").exists()
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "100% of 6 networks" in captured.out
    assert "no official split" in captured.err
    assert main([*words, "--format", "navonn"]) == 1
    assert "Did you mean 'navon'?" in capsys.readouterr().err


def test_recipes_of_signals_are_populated_by_the_same_verb(tmp_path, capsys):
    words = [
        "zoo",
        "populate",
        "digit_images",
        "--tier",
        "smoke",
        "--set",
        "count=12",
        "steps=3",
        "start_steps=2",
    ]
    assert main([*words, "--out", str(tmp_path / "zoo"), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["networks"] == 12
    assert main([*words, "--out", str(tmp_path / "zoo"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 12
