"""INR data sets: both families of names, labels, splits, coefficients of sines."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.zoo.importers.fixtures import Inr
from weightatlas.errors import SpecError
from weightatlas.zoo.importers.inr_states import siren_of
from weightatlas.zoo.importers.published import format_of, import_published


def navon_mnist(folder: Path) -> dict[str, Inr]:
    """Write mnist-inrs as it is unpacked."""
    made = {}
    for number in range(12):
        part = "testing" if number >= 9 else "training"
        run = folder / f"mnist_png_{part}_{number % 10}_{number}" / "checkpoints"
        run.mkdir(parents=True)
        file = run / "model_final.pth"
        made[file.relative_to(folder).as_posix()] = Inr()
        torch.save(made[file.relative_to(folder).as_posix()].state_dict(), file)
    return made


def test_image_inrs_compute_the_same_and_keep_their_labels(tmp_path: Path) -> None:
    made = navon_mnist(tmp_path / "inrs")
    parts: dict = {part: {"path": [], "label": []} for part in ("train", "val", "test")}
    for index, file in enumerate(made):
        part = "test" if "testing" in file else "val" if index == 1 else "train"
        parts[part]["path"].append(f"/home/them/dataset/{file}")
        parts[part]["label"].append(file.split("_")[3])
    parts["train"]["path"].append("/home/them/dataset/gone/checkpoints/x.pth")
    parts["train"]["label"].append("1")
    (tmp_path / "inrs" / "mnist_splits.json").write_text(json.dumps(parts))
    assert format_of(tmp_path / "inrs") == "navon"
    done = import_published(tmp_path / "inrs", tmp_path / "zoo")
    zoo = done.zoo
    assert any("1 files that are not in" in note for note in done.notes)
    assert [len(zoo.split(p, by="official")) for p in ("train", "val", "test")] == [8, 1, 3]
    points = torch.rand(5, 2) * 2 - 1
    outputs = zoo.population(engine="loop")(zoo.weights().values, points)
    for source, label, found in zip(zoo.column("source"), zoo.column("label"), outputs, strict=True):
        torch.testing.assert_close(found, made[source](points), rtol=1e-4, atol=1e-5)
        assert label == float(source.split("_")[3])


def test_without_a_split_the_parts_of_the_folder_names_stay(tmp_path: Path) -> None:
    navon_mnist(tmp_path / "inrs")
    done = import_published(tmp_path / "inrs", tmp_path / "zoo")
    assert len(done.zoo.split("test", by="official")) == 3
    assert any("without val" in note for note in done.notes)


def test_labels_and_coefficients_inside_files_become_columns(tmp_path: Path) -> None:
    folder = tmp_path / "fmnist_inrs"
    (folder / "a").mkdir(parents=True)
    torch.save({**Inr().state_dict(), "label": 7}, folder / "a" / "1.pth")
    sine = {
        **Inr(1).state_dict(),
        "coef": torch.tensor([2.0, 5.5]),
        "x": torch.ones(100),
        "y": torch.ones(100),
    }
    torch.save(sine, folder / "a" / "2.pth")
    torch.save({**Inr().state_dict(), "label": torch.tensor(3)}, folder / "a" / "3.pth")
    splits = {
        "train": ["data/fmnist_inrs/a/1.pth", "data/fmnist_inrs/a/2.pth"],
        "test": ["a/3.pth"],
        "val": [],
    }
    (folder / "splits.json").write_text(json.dumps(splits))
    zoo = import_published(folder, tmp_path / "zoo").zoo
    rows = {row["source"]: row for row in zoo.table.rows()}
    assert (rows["a/1.pth"]["label"], rows["a/1.pth"]["split_official"]) == (7.0, "train")
    assert (rows["a/2.pth"]["amplitude"], rows["a/2.pth"]["frequency"]) == (2.0, 5.5)
    assert (rows["a/3.pth"]["label"], rows["a/3.pth"]["split_official"]) == (3.0, "test")
    assert sorted(spec.params for spec in zoo.specs) == [1153, 1185]


class Siren(nn.Module):
    """A SIREN of the NFN data sets: net.0.linear, net.1.linear, net.2."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        inner = [nn.Module(), nn.Module()]
        for layer, (a, b) in zip(inner, [(2, 32), (32, 32)], strict=True):
            layer.linear = nn.Linear(a, b)
        self.net = nn.Sequential(*inner, nn.Linear(32, outputs))

    def forward(self, x):
        for layer in list(self.net)[:2]:
            x = torch.sin(30.0 * layer.linear(x))
        return self.net[2](x)


def test_nfn_sirens_compute_the_same_and_copies_share_a_lineage(tmp_path: Path) -> None:
    folder = tmp_path / "siren_mnist_wts"
    made = {}
    for prefix in ("randinit_smaller", "randinit_smaller_aug0"):
        for label, number in ((3, 0), (3, 45_000), (8, 50_001)):
            place = folder / f"{prefix}_{label}s"
            place.mkdir(parents=True, exist_ok=True)
            made[f"{place.name}/net{number}.pth"] = Siren()
            torch.save(made[f"{place.name}/net{number}.pth"].state_dict(), place / f"net{number}.pth")
    assert format_of(folder) == "nfn_siren"
    zoo = import_published(folder, tmp_path / "zoo").zoo
    assert [len(zoo.split(p, by="official")) for p in ("train", "val", "test")] == [2, 2, 2]
    assert len(set(zoo.column("lineage"))) == 3
    assert sorted(set(zoo.column("label"))) == [3.0, 8.0]
    points = torch.rand(4, 2) * 2 - 1
    outputs = zoo.population(engine="loop")(zoo.weights().values, points)
    for source, found in zip(zoo.column("source"), outputs, strict=True):
        torch.testing.assert_close(found, made[source](points), rtol=1e-4, atol=1e-5)


def test_what_is_no_siren_is_skipped_with_the_reason(tmp_path: Path) -> None:
    place = tmp_path / "w" / "x_1s"
    place.mkdir(parents=True)
    torch.save(Siren().state_dict(), place / "net0.pth")
    torch.save(nn.Conv2d(1, 2, 3).state_dict(), place / "net1.pth")
    done = import_published(tmp_path / "w", tmp_path / "zoo")
    assert done.coverage == 0.5
    assert "no chain of dense layers" in done.skipped["x_1s/net1.pth"]
    with pytest.raises(SpecError, match="no chain"):
        siren_of({"a.weight": torch.ones(3, 2), "a.bias": torch.ones(4)}, 30.0, 0.0)
