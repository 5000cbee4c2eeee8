"""A messy folder without code: what is a network is in the zoo, the rest is listed with reasons."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.weights.files.collection import keras_file
from weightatlas.errors import NoCode, ZooError
from weightatlas.predict import PropertyPredictor
from weightatlas.relate.inspection import Inspector
from weightatlas.weights.infer import infer
from weightatlas.zoo import Zoo
from weightatlas.zoo.importers.candidates import Candidate, Chooser, common
from weightatlas.zoo.importers.folder import import_folder
from weightatlas.zoo.store import write_shard
from weightatlas.zoo.table import Table


def mlp(width: int = 6) -> dict[str, torch.Tensor]:
    return nn.Sequential(nn.Linear(9, width), nn.ReLU(), nn.Linear(width, 3)).state_dict()


class Named(nn.Module):
    """The same layers under other names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(9, 6), nn.Linear(6, 3)


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    folder = tmp_path / "messy"
    for run in range(5):
        (folder / f"run{run}").mkdir(parents=True)
        save_file(mlp(), folder / f"run{run}" / "net.safetensors")
    wrapped = {f"module.{name}": tensor for name, tensor in mlp().items()}
    torch.save({"state_dict": wrapped, "epoch": 4}, folder / "wrapped.pt")
    torch.save({"actor": mlp(), "critic": mlp(8)}, folder / "agent.ckpt")
    torch.save(Named().state_dict(), folder / "named.pt")
    save_file({name: tensor.half() for name, tensor in mlp(12).items()}, folder / "half.safetensors")
    save_file({**mlp(), "2.bias": torch.full((3,), torch.nan)}, folder / "diverged.safetensors")
    (folder / "notes.txt").write_text("not a checkpoint")
    (folder / "broken.pt").write_bytes((folder / "wrapped.pt").read_bytes()[:200])
    return folder


def test_everything_that_is_a_network_is_read(messy: Path, tmp_path: Path) -> None:
    done = import_folder(messy, tmp_path / "zoo")
    zoo = done.zoo
    assert len(done.read) == 9
    assert len(zoo) == 10  # agent.ckpt holds two networks
    assert {path.name for path in done.skipped} == {"diverged.safetensors", "notes.txt", "broken.pt"}
    assert done.coverage == pytest.approx(9 / 12)
    assert [(g["networks"], g["parameters"], g["family"]) for g in done.groups] == [
        (8, 81, "MLP 9-6-3"),
        (1, 107, "MLP 9-8-3"),
        (1, 159, "MLP 9-12-3"),
    ]
    assert len(zoo.specs) == 3


def test_a_zoo_inside_its_source_and_circular_links_do_no_harm(messy: Path, tmp_path: Path) -> None:
    (messy / "loop.pt").symlink_to("loop.pt")
    import_folder(messy, messy / "zoo")
    again = import_folder(messy, messy / "zoo")
    assert again.read == ()
    assert len(again.zoo) == 10
    assert not any("zoo" in path.relative_to(messy).parts for path in again.skipped)


def test_every_row_says_where_it_comes_from(messy: Path, tmp_path: Path) -> None:
    zoo = import_folder(messy, tmp_path / "zoo").zoo
    rows = {row["id"]: row for row in zoo.table.rows()}
    actor = rows["agent_ckpt__actor"]
    assert (actor["source"], actor["source_network"]) == ("agent.ckpt", "actor")
    wrapped = rows["wrapped_pt"]
    assert wrapped["source_network"] is None
    assert "module." in wrapped["source_renames"]
    assert rows["run0__net_safetensors"]["source_format"] == "safetensors"
    assert rows["run0__net_safetensors"]["source_renames"] is None
    assert rows["run0__net_safetensors"]["lineage"] == "run0"


def test_the_report_is_kept_with_the_zoo(messy: Path, tmp_path: Path) -> None:
    done = import_folder(messy, tmp_path / "zoo")
    report = json.loads((tmp_path / "zoo" / "import.json").read_text())
    assert report["coverage"] == done.coverage
    assert report["renamed"] == {"wrapped.pt": 4}
    assert "3 values" in report["skipped"]["diverged.safetensors"]
    assert len(report["read"]) == 9


def test_tensors_come_back_under_their_own_names(messy: Path, tmp_path: Path) -> None:
    zoo = import_folder(messy, tmp_path / "zoo").zoo
    for path, source in zip(zoo.export(tmp_path / "out"), zoo.column("source"), strict=True):
        if source == "half.safetensors":
            original, back = load_file(messy / source), load_file(path)
            assert all(torch.equal(original[n], back[n]) and back[n].dtype == torch.float16 for n in original)
        if source == "named.pt":
            original, back = torch.load(messy / source), load_file(path)
            assert set(original) == set(back)
            assert all(torch.equal(original[n], back[n]) for n in original)


def test_inferred_networks_are_read_and_predicted_from_but_not_run(messy: Path, tmp_path: Path) -> None:
    lines = ["file,test_acc", *(f"run{run}/net.safetensors,{0.5 + run / 10}" for run in range(5))]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    zoo = import_folder(messy, tmp_path / "zoo", metrics=tmp_path / "m.csv").zoo
    known = zoo.filter(test_acc=lambda accuracy: accuracy >= 0)
    assert len(known) == 5
    assert known.spec.function_id is None
    batch = known.batch(labels=("test_acc",))
    assert PropertyPredictor("layer_statistics").fit(batch, "test_acc").predict(batch).shape == (5,)
    with pytest.raises(NoCode, match="--network"):
        known.population()
    found = Zoo.open(tmp_path / "zoo").verify()
    assert found.ok


def test_a_second_import_adds_only_new_files(messy: Path, tmp_path: Path) -> None:
    import_folder(messy, tmp_path / "zoo")
    save_file(mlp(), messy / "late.safetensors")
    done = import_folder(messy, tmp_path / "zoo")
    assert [path.name for path in done.read] == ["late.safetensors"]
    assert len(done.zoo) == 11
    assert done.coverage == pytest.approx(10 / 13)


def test_an_import_killed_between_the_layouts_of_one_file_goes_on(
    messy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def killed(folder: Path, key: str, values: torch.Tensor, rows: Table) -> None:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(key)
        write_shard(folder, key, values, rows)

    with monkeypatch.context() as patch:
        patch.setattr("weightatlas.zoo.importers.folder.write_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            import_folder(messy, tmp_path / "zoo")
    present = Zoo.open(tmp_path / "zoo").column("id").tolist()
    assert ("agent_ckpt__actor" in present, "agent_ckpt__critic" in present) == (True, False)
    done = import_folder(messy, tmp_path / "zoo")
    assert {path.name for path in done.read} == {"agent.ckpt", "half.safetensors"}
    whole = import_folder(messy, tmp_path / "other").zoo
    assert sorted(done.zoo.column("id")) == sorted(whole.column("id"))
    assert import_folder(messy, tmp_path / "zoo").coverage == pytest.approx(9 / 12)


def test_nothing_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "notes.txt").write_text("not a checkpoint")
    with pytest.raises(ZooError, match="None of 1 files") as error:
        import_folder(tmp_path / "files", tmp_path / "zoo")
    assert "notes.txt" in str(error.value)
    assert not (tmp_path / "zoo").exists()


def test_layouts_known_under_two_names_keep_only_what_is_certain_for_both() -> None:
    sequential = infer({"0.weight": (4, 4), "0.bias": (4,), "2.weight": (2, 4), "2.bias": (2,)}).spec
    unclear = infer({"a.weight": (4, 4), "a.bias": (4,), "b.weight": (2, 4), "b.bias": (2,)}).spec
    assert sequential.layout_id == unclear.layout_id
    assert (sequential.groups, unclear.groups) == ((4,), ())
    assert common(sequential, sequential).groups == (4,)
    assert common(sequential, unclear).groups == ()
    assert [tensor.name for tensor in common(sequential, unclear).tensors] == [
        t.name for t in sequential.tensors
    ]


def test_a_network_among_several_in_one_file_is_found_when_it_is_asked_for(
    messy: Path, tmp_path: Path
) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = import_folder(messy, tmp_path / "zoo", make, input_shape=(9,))
    assert done.zoo.column("id").tolist() == ["agent_ckpt__critic"]
    assert done.zoo.population()(done.zoo.weights().values, torch.randn(2, 9)).shape == (1, 2, 3)


def test_a_network_that_is_not_understood_is_left_out_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("good", "strange"):
        torch.save({f"{name}.weight": torch.randn(3, 2)}, tmp_path / f"{name}.pt")

    def fussy(state: dict, **more: object) -> object:
        if "strange.weight" in state:
            raise KeyError("strange")
        return infer(state, **more)

    monkeypatch.setattr("weightatlas.zoo.importers.candidates.infer", fussy)
    done = import_folder(tmp_path, tmp_path / "zoo")
    assert [path.name for path in done.read] == ["good.pt"]
    reasons = {path.name: reason for path, reason in done.skipped.items()}
    assert "not understood: KeyError: 'strange'" in reasons["strange.pt"]


def test_arrays_of_data_are_no_networks(tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", W1=np.ones((4, 3)), b1=np.ones(3))
    np.savez(tmp_path / "evaluations.npz", results=np.ones((50, 10)), steps=np.arange(50))
    np.save(tmp_path / "signals.npy", np.ones((20, 8)))
    done = import_folder(tmp_path, tmp_path / "zoo")
    assert [path.name for path in done.read] == ["net.npz"]
    reasons = {path.name: reason for path, reason in done.skipped.items()}
    assert "'results' (50 × 10)" in reasons["evaluations.npz"]
    assert set(reasons) == {"evaluations.npz", "signals.npy"}
    found, failed = Inspector().inspect(sorted(tmp_path.glob("*.np*")))
    assert [Path(one.file).name for one in found] == ["net.npz"]
    assert "none is named like the weights" in failed[tmp_path / "signals.npy"]


def test_flattens_of_keras_files_keep_their_channels_fixed(tmp_path):
    keras_file(tmp_path / "a.h5")
    (candidate,) = Chooser().choose(tmp_path / "a.h5")
    assert isinstance(candidate, Candidate)
    assert candidate.spec.groups == ()
