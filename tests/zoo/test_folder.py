"""Importing a folder of checkpoints: what fits is read, the rest is reported."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from weightatlas.errors import ConfigError, DataError, FileError, NoCode, ZooError
from weightatlas.tasks import create_task
from weightatlas.zoo import Zoo
from weightatlas.zoo.importers.folder import import_folder

OPTIONS = {"channels_in": 1, "image_size": 8, "hidden": [4]}


def make() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 10))


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for run in range(6):
        (folder / f"run{run}").mkdir(parents=True)
        for epoch in (1, 2):
            state = make().state_dict()
            if run == 0:
                state = {name: tensor.bfloat16() for name, tensor in state.items()}
            save_file(state, folder / f"run{run}" / f"epoch{epoch}.safetensors")
    torch.save({"state_dict": make().state_dict()}, folder / "single.pt")
    return folder


def spoil(folder: Path) -> None:
    state = make().state_dict()
    save_file({k: v for k, v in state.items() if k != "3.bias"}, folder / "missing.safetensors")
    save_file({**state, "3.bias": torch.zeros(11)}, folder / "shape.safetensors")
    save_file({**state, "3.bias": torch.full((10,), torch.nan)}, folder / "nan.safetensors")
    whole = (folder / "run1" / "epoch1.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[:-40])
    (folder / "text.pt").write_text("not a checkpoint")


def test_reads_what_fits_and_says_why_not(checkpoints: Path, tmp_path: Path) -> None:
    spoil(checkpoints)
    done = import_folder(checkpoints, tmp_path / "zoo", "mlp", network_options=OPTIONS)
    assert len(done.read) == len(done.zoo) == 13
    reasons = {path.stem: reason for path, reason in done.skipped.items()}
    assert set(reasons) == {"missing", "shape", "nan", "truncated", "text"}
    assert "'3.bias' (10,) is missing" in reasons["missing"]
    assert "(11,)" in reasons["shape"]
    assert "10 values that are NaN" in reasons["nan"]
    assert len(set(done.zoo.column("lineage"))) == 7
    assert done.zoo.verify().ok


def test_originals_come_back_bit_for_bit(checkpoints: Path, tmp_path: Path) -> None:
    zoo = import_folder(checkpoints, tmp_path / "zoo", "mlp", network_options=OPTIONS).zoo
    for path, source in zip(zoo.export(tmp_path / "out"), zoo.column("source"), strict=True):
        if source.endswith(".safetensors"):
            original, back = load_file(checkpoints / source), load_file(path)
            assert set(original) == set(back)
            assert all(torch.equal(original[n], back[n]) and original[n].dtype == back[n].dtype for n in back)


def test_counters_come_back_but_do_not_fill_the_header(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    for number in range(4):
        network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))
        network[1].num_batches_tracked += 100 * number
        save_file(network.state_dict(), folder / f"{number}.safetensors")
    zoo = import_folder(folder, tmp_path / "zoo").zoo
    assert len(zoo.header.signatures) == 1
    for path, source in zip(zoo.export(tmp_path / "out"), zoo.column("source"), strict=True):
        original, back = load_file(folder / source), load_file(path)
        assert original.keys() == back.keys()
        assert all(torch.equal(original[name], back[name]) for name in back)


def test_second_import_adds_new_files(checkpoints: Path, tmp_path: Path) -> None:
    import_folder(checkpoints, tmp_path / "zoo", "mlp", network_options=OPTIONS)
    save_file(make().state_dict(), checkpoints / "late.safetensors")
    done = import_folder(checkpoints, tmp_path / "zoo", "mlp", network_options=OPTIONS)
    assert [path.name for path in done.read] == ["late.safetensors"]
    assert len(done.zoo) == 14


def test_files_of_similar_names_stay_apart(tmp_path: Path) -> None:
    folder, zoo = tmp_path / "runs", tmp_path / "zoo"
    folder.mkdir()
    for name in ("lr_0.1.safetensors", "lr_0_1.safetensors"):
        save_file(make().state_dict(), folder / name)
    ids = import_folder(folder, zoo, "mlp", network_options=OPTIONS).zoo.column("id").tolist()
    assert len(set(ids)) == 2
    assert "lr_0_1_safetensors" in ids
    (folder / "lr").mkdir()
    save_file(make().state_dict(), folder / "lr" / "0.safetensors")
    save_file(make().state_dict(), folder / "lr__0.safetensors")
    done = import_folder(folder, zoo, "mlp", network_options=OPTIONS)
    assert (len(done.read), len(done.zoo), len(set(done.zoo.column("id")))) == (2, 4, 4)
    assert set(ids) < set(done.zoo.column("id"))
    assert len({path.name for path in done.zoo.export(tmp_path / "out")}) == 4


def test_metrics_and_task(checkpoints: Path, tmp_path: Path) -> None:
    lines = ["file,step,test_acc,train_acc,lr,lineage,note"]
    lines += [
        f"run{r}/epoch{e}.safetensors,{e},0.5,0.75,1e-3,family{r % 2},n" for r in range(6) for e in (1, 2)
    ]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    zoo = import_folder(
        checkpoints,
        tmp_path / "zoo",
        "mlp",
        network_options=OPTIONS,
        task=create_task("digits"),
        metrics=tmp_path / "m.csv",
    ).zoo
    known = zoo.filter(note="n")
    assert len(known) == 12
    assert set(known.column("lineage")) == {"family0", "family1"}
    assert set(known.column("lr")) == {1e-3}
    assert set(known.column("generalization_gap")) == {0.25}
    assert sorted(known.column("epoch")) == [1] * 6 + [2] * 6
    assert zoo.task().classes == 10
    assert "test_acc" in zoo.verify().problems[0]  # the made-up accuracy


def test_own_code(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="input_shape"):
        import_folder(checkpoints, tmp_path / "zoo", make)
    found = import_folder(checkpoints, tmp_path / "zoo", make, input_shape=(1, 8, 8)).zoo
    found.population()
    zoo = Zoo.open(tmp_path / "zoo")
    with pytest.raises(NoCode, match="networks="):
        zoo.population()
    key = zoo.spec.function_id

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = make()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    population = Zoo.open(tmp_path / "zoo", networks={key: Named}).population()
    assert population(zoo.weights().values, torch.randn(3, 1, 8, 8)).shape == (13, 3, 10)


def test_nothing_to_read(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="None of 13 files"):
        import_folder(checkpoints, tmp_path / "zoo", "digits_cnn")
    assert not (tmp_path / "zoo").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZooError, match="has no files"):
        import_folder(tmp_path / "empty", tmp_path / "zoo", "mlp")
    with pytest.raises(FileError, match="no folder"):
        import_folder(tmp_path / "gone", tmp_path / "zoo", "mlp")
    (tmp_path / "m.json").write_text('[{"name": "a"}]')
    with pytest.raises(DataError, match="file"):
        import_folder(checkpoints, tmp_path / "zoo", "mlp", metrics=tmp_path / "m.json")


def test_exported_zoo_comes_back(trained: Path, tmp_path: Path) -> None:
    zoo = Zoo.open(trained).filter(activation="relu")
    zoo.export(tmp_path / "out")
    done = import_folder(
        tmp_path / "out",
        tmp_path / "zoo",
        "mlp",
        network_options=OPTIONS,
        task=create_task("digits", train_size=96),
        metrics=tmp_path / "out" / "networks.csv",
    )
    assert done.zoo.verify().ok
    assert done.zoo.verify().rescored == 16
    order = done.zoo.column("source").argsort(), (zoo.column("id")).argsort()
    for name in ("network", "lineage", "split", "test_acc", "generalization_gap", "epoch", "lr"):
        assert (done.zoo.column(name)[order[0]] == zoo.column(name)[order[1]]).all(), name
    assert torch.equal(done.zoo.weights().values[order[0]], zoo.weights().values[order[1]])


def test_children_belong_to_the_family_of_their_root(checkpoints: Path, tmp_path: Path) -> None:
    lines = [
        "file,parent",
        "single.pt,run3/epoch2.safetensors",
        "run3/epoch2.safetensors,run4/epoch1.safetensors",
    ]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    zoo = import_folder(
        checkpoints, tmp_path / "zoo", "mlp", network_options=OPTIONS, metrics=tmp_path / "m.csv"
    ).zoo
    by_file = dict(zip(zoo.column("source"), zoo.column("lineage"), strict=True))
    assert by_file["single.pt"] == by_file["run3/epoch2.safetensors"] == by_file["run4/epoch2.safetensors"]
    assert by_file["run3/epoch1.safetensors"] == "run3"
    assert set(zoo.filter(source="single.pt").column("lineage_source")) == {"parent"}
    lines.append("run4/epoch1.safetensors,single.pt")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    with pytest.raises(ZooError, match="circle"):
        import_folder(
            checkpoints, tmp_path / "zoo2", "mlp", network_options=OPTIONS, metrics=tmp_path / "m.csv"
        )
