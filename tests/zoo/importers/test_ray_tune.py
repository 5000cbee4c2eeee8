"""Ray-Tune folders: both spellings of checkpoints, metrics by iteration, the official split."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.zoo.importers.fixtures import ModuleList, ray_tune_run, save_objects, their_class
from weightatlas.errors import FileError, NoCode, ZooError
from weightatlas.zoo.importers.published import format_of, import_published
from weightatlas.zoo.importers.schuerholt import official_runs


@pytest.fixture(scope="module")
def zoo_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ModuleList]]:
    folder = tmp_path_factory.mktemp("ray") / "mnist"
    networks = [ModuleList() for _ in range(11)]
    for number, network in enumerate(networks):
        ray_tune_run(folder, number, network)
    return folder, networks


def test_runs_become_networks_that_compute_the_same(zoo_folder, tmp_path: Path) -> None:
    folder, networks = zoo_folder
    assert format_of(folder) == "ray_tune"
    done = import_published(folder, tmp_path / "zoo")
    assert (len(done.zoo), done.coverage, done.skipped) == (22, 1.0, {})
    images = torch.randn(3, 1, 28, 28)
    for number in (0, 10):
        part = done.zoo.filter(lambda_rows(done.zoo, number), step=5)
        found = part.population(engine="loop")(part.weights().values, images)
        torch.testing.assert_close(found[0], networks[number](images), rtol=1e-4, atol=1e-5)
    assert len(done.zoo.split("train")) > 0


def lambda_rows(zoo, number: int):
    return [f"_{number:05d}_" in name for name in zoo.column("lineage")]


def test_metrics_are_found_by_iteration_not_by_line(zoo_folder, tmp_path: Path) -> None:
    zoo = import_published(zoo_folder[0], tmp_path / "zoo").zoo
    assert set(zoo.filter(step=5).column("train_acc").round(6)) == {0.5}
    assert set(zoo.filter(step=1).column("test_acc").round(6)) == {0.09}
    assert set(zoo.column("lr")) == {3e-3}
    assert set(zoo.column("activation")) == {"tanh"}


def test_tensors_go_back_under_their_own_names(zoo_folder, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    zoo = import_published(zoo_folder[0], tmp_path / "zoo").zoo
    (path,) = zoo[:1].export(tmp_path / "out")
    assert set(load_file(path)) == set(zoo_folder[1][0].state_dict())


def test_the_official_split_is_read_from_the_pickled_data_set(zoo_folder, tmp_path: Path) -> None:
    folder, _ = zoo_folder
    runs = sorted(path for path in folder.iterdir() if path.is_dir())
    made = their_class("checkpoints_to_datasets.dataset_base", "ModelDatasetBase")
    sets = {}
    for key, part in (("trainset", runs[:7]), ("valset", runs[7:9]), ("testset", runs[9:])):
        sets[key] = made()
        sets[key].paths = part
        sets[key].data_in = [torch.zeros(3)]
    save_objects(sets, folder / "dataset.pt", "checkpoints_to_datasets")
    try:
        zoo = import_published(folder, tmp_path / "zoo").zoo
    finally:
        (folder / "dataset.pt").unlink()
    counts = {part: len(zoo.split(part, by="official")) for part in ("train", "val", "test")}
    assert counts == {"train": 14, "val": 4, "test": 4}


def test_a_data_set_that_would_run_code_is_refused(zoo_folder, tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self):
            return eval, ("1/0",)

    torch.save({"trainset": Harmful()}, tmp_path / "dataset.pt")
    with pytest.raises(FileError, match="would run code"):
        official_runs(tmp_path / "dataset.pt")


def test_other_networks_come_without_code(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(14, 6), nn.Tanh(), nn.Linear(6, 2))
    ray_tune_run(tmp_path / "tetris", 0, network)
    zoo = import_published(tmp_path / "tetris", tmp_path / "zoo").zoo
    assert zoo.spec.params == 104
    with pytest.raises(NoCode):
        zoo.population()


def test_what_cannot_be_read_is_named_and_counted(tmp_path: Path) -> None:
    run = ray_tune_run(tmp_path / "zoo", 0, ModuleList())
    file = run / "checkpoint_000001" / "checkpoints"
    file.write_bytes(file.read_bytes()[:500])
    (ray_tune_run(tmp_path / "zoo", 1, ModuleList()) / "params.json").write_text("{")
    done = import_published(tmp_path / "zoo", tmp_path / "out")
    assert len(done.zoo) == 1
    assert done.coverage == pytest.approx(1 / 3)
    assert {reason.split()[-1] for reason in done.skipped.values()} >= {"JSON."}
    assert json.loads((tmp_path / "out" / "import.json").read_text())["coverage"] == pytest.approx(0.3333)


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    with pytest.raises(ZooError, match="none of the published formats"):
        import_published(tmp_path / "files", tmp_path / "zoo")


def test_batch_norms_keep_their_counters_in_rows_and_the_header_small(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    networks = [
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)) for _ in "ab"
    ]
    for number, network in enumerate(networks):
        network[1].num_batches_tracked.fill_(7 + number)
        ray_tune_run(tmp_path / "resnets", number, network, (5,))
    zoo = import_published(tmp_path / "resnets", tmp_path / "zoo").zoo
    assert len(zoo.header.signatures) == 1
    for path, network in zip(zoo.export(tmp_path / "out"), networks, strict=True):
        found = load_file(path)
        assert all(torch.equal(found[name], tensor) for name, tensor in network.state_dict().items())
