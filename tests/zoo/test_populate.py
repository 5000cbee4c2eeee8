"""Populate: keys, growth, interruption, refusals."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from tests.elsewhere import Elsewhere
from weightatlas.errors import ConfigError, DataError, RunError, ZooError
from weightatlas.executors import ProcessExecutor, create_executor
from weightatlas.zoo import Zoo
from weightatlas.zoo import populate as module
from weightatlas.zoo.header import Header, read_header, write_header
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import Recipe
from weightatlas.zoo.store import leftovers, shard_keys

from .conftest import TINY, tiny


def vectors(zoo: Zoo) -> dict[str, torch.Tensor]:
    batch = zoo.batch()
    values = batch.join([group.values for group in batch])
    return dict(zip(zoo.column("id").tolist(), values, strict=True))


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert set(first) == set(second)
    for name, vector in first.items():
        assert torch.allclose(vector, second[name], atol=1e-5), name


def test_a_longer_grid_changes_nothing_already_there(copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in (copy / "weights").iterdir()}
    grid = {"lr": [3e-3, 1e-3, 1e-2], "activation": ["tanh", "relu"]}
    zoo = populate(tiny(grid=grid, replicates=5), copy)
    after = {path.name: path.read_bytes() for path in (copy / "weights").iterdir()}
    assert before.items() < after.items()
    assert len(zoo) == 2 * 3 * 2 * 5
    assert len(set(zoo.column("id"))) == len(zoo)
    assert zoo.header.recipe["replicates"] == 5
    assert zoo.verify(sample=60).rescored == 60


def test_one_given_seed_is_one_family_whatever_the_scheme(tmp_path: Path) -> None:
    """Their first weights differ by a factor."""
    grid = {"init": ["kaiming_uniform", "glorot_uniform"], "init_seed": [1, 2]}
    zoo = populate(tiny(grid=grid, replicates=1, epochs=1, checkpoints=[0]), tmp_path / "z")
    families = zoo.column("lineage")
    first, other = zoo.weights().values[families == families[0]][:, zoo.spec.slices["1.weight"]]
    assert len(set(families)) == 2
    assert torch.corrcoef(torch.stack([first, other]))[0, 1] > 0.999


def test_networks_do_not_depend_on_their_companions(zoo: Zoo, tmp_path: Path) -> None:
    alone = populate(tiny(grid={"lr": [1e-2], "activation": ["tanh"]}, replicates=1, shard=1), tmp_path / "z")
    whole = vectors(zoo)
    assert_same(vectors(alone), {name: whole[name] for name in alone.column("id")})


def test_processes_give_the_same_networks(zoo: Zoo, tmp_path: Path) -> None:
    from joblib.externals.loky import get_reusable_executor

    recipe = tiny(grid={"lr": [1e-3, 1e-2], "activation": ["relu"]})
    try:
        found = populate(recipe, tmp_path / "z", executor="processes")
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert_same(vectors(found), vectors(zoo.filter(activation="relu")))


def test_relative_paths_are_those_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    np.savez("mine.npz", x_train=pixels, y_train=np.arange(60) % 3)
    recipe = tiny(task="npz:mine.npz", task_options={}, grid={"lr": [1e-3]}, replicates=2)
    found = populate(recipe, "runs/zoo", executor=Elsewhere(tmp_path / "other"))
    assert len(found) == 4
    assert not list((tmp_path / "other").iterdir())
    assert found.header.recipe["task"] == "npz:mine.npz"


def test_interrupted_by_the_user(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = module.train_shard, []

    def interrupted(*arguments: object) -> int:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(module, "train_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        populate(tiny(), tmp_path / "z")
    assert len(Zoo.open(tmp_path / "z")) == 16
    assert leftovers(tmp_path / "z") == []
    assert_same(vectors(populate(tiny(), tmp_path / "z")), vectors(Zoo.open(trained)))
    assert len(calls) == 5
    assert shard_keys(tmp_path / "z") == shard_keys(trained)


KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from weightatlas import atomic
from weightatlas.zoo import store
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import Recipe

written = []

def write_bytes(path, data):
    if path.suffix == ".parquet" and len(written) == 3:  # between the numbers and their sidecar
        os.kill(os.getpid(), signal.SIGKILL)
    written.append(path)
    atomic.write_bytes(path, data)

store.write_bytes = write_bytes
populate(Recipe.build(eval(sys.argv[2])), sys.argv[1])
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_between_weights_and_sidecar(trained: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "z"), repr(TINY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(shard_keys(tmp_path / "z")) == 1
    assert len(leftovers(tmp_path / "z")) == 1
    assert len(Zoo.open(tmp_path / "z")) == 8
    zoo = populate(tiny(), tmp_path / "z")
    assert_same(vectors(zoo), vectors(Zoo.open(trained)))
    assert leftovers(tmp_path / "z") == []
    assert zoo.verify(sample=4).ok


def dies_once(job: module.Job) -> int:
    """Train a shard; the first worker that comes here kills itself in the middle of its work."""
    marker = job.folder.parent / "marker"
    if not marker.exists():
        marker.touch()
        checkpoints = module.train

        def killed(*arguments: object, **options: object) -> object:
            for checkpoint in checkpoints(*arguments, **options):  # type: ignore[arg-type]
                os.kill(os.getpid(), signal.SIGKILL)
                yield checkpoint

        module.train = killed  # type: ignore[assignment]
    return module.train_shard(job)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_worker(trained: Path, tmp_path: Path) -> None:
    from joblib.externals.loky import get_reusable_executor

    class Mortal(ProcessExecutor):
        def map(self, fn: object, tasks: object) -> object:  # type: ignore[override]
            return super().map(dies_once, tasks)  # type: ignore[arg-type]

    try:
        with pytest.raises(RunError, match="worker process died"):
            populate(tiny(), tmp_path / "z", executor=Mortal(2))
        assert len(shard_keys(tmp_path / "z")) < len(shard_keys(trained))
        zoo = populate(tiny(), tmp_path / "z", executor=Mortal(2))
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert_same(vectors(zoo), vectors(Zoo.open(trained)))
    assert shard_keys(tmp_path / "z") == shard_keys(trained)
    assert zoo.verify(sample=4).ok


DRIVER = """
import os, signal, sys, time
from pathlib import Path
from weightatlas.executors import ProcessExecutor
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import Recipe

class Killed(ProcessExecutor):
    def map(self, fn, tasks):
        for count in super().map(fn, tasks):
            os.kill(os.getpid(), signal.SIGKILL)  # after the first shard, while others are being trained
            yield count

if __name__ == "__main__":
    populate(Recipe.build(eval(sys.argv[2])), sys.argv[1], executor=Killed(2))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_driver(trained: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "z"), repr(TINY)]
    with (tmp_path / "log").open("wb") as log:  # orphaned workers would keep a pipe open
        driver = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        assert driver.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
        os.killpg(driver.pid, signal.SIGKILL)  # the workers, wherever they are
    assert len(shard_keys(tmp_path / "z")) >= 1
    zoo = populate(tiny(), tmp_path / "z")
    assert_same(vectors(zoo), vectors(Zoo.open(trained)))
    assert shard_keys(tmp_path / "z") == shard_keys(trained)
    assert zoo.verify(sample=4).ok


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_clusters_give_the_same_networks(trained: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip({"ray": "ray", "slurm": "submitit"}[name])
    local = {"cluster": "local", "folder": tmp_path / "jobs"} if name == "slurm" else {}
    recipe = tiny(grid={"lr": [1e-3], "activation": ["relu", "tanh"]})
    found = populate(recipe, tmp_path / "z", executor=create_executor(name, workers=2, **local))
    assert_same(vectors(found), vectors(Zoo.open(trained).filter(lr=1e-3)))


def test_two_grids_at_once_share_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[Thread] = []

    def start(activation: str) -> None:
        with pytest.raises(ZooError, match="no networks yet"):
            populate(tiny(grid={"activation": [activation]}), tmp_path / "zoo")

    def interrupted(folder: Path, header: Header) -> None:
        if not others:
            others.append(Thread(target=start, args=("tanh",)))
            others[0].start()
            others[0].join(1.0)  # time to come between, if nothing holds it back
        write_header(folder, header)

    monkeypatch.setattr(module, "_work", lambda *_: None)
    monkeypatch.setattr(module, "write_header", interrupted)
    start("relu")
    others[0].join()
    assert len(read_header(tmp_path / "zoo").specs) == 2


def test_another_recipe_is_refused(copy: Path) -> None:
    with pytest.raises(ConfigError, match="epochs is 3, the zoo was made with 2"):
        populate(tiny(epochs=3), copy)
    with pytest.raises(ConfigError, match="seed is 1"):
        populate(tiny(seed=1), copy)
    assert len(Zoo.open(copy)) == 32


def test_data_that_moved_are_the_same_data(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (120, 8, 8), dtype=np.uint8)
    labels = np.arange(120) % 3
    folders = [tmp_path / name for name in ("here", "there", "other")]
    for folder, images in zip(folders, (pixels, pixels, 255 - pixels), strict=True):
        folder.mkdir()
        np.savez(folder / "images.npz", x_train=images, y_train=labels)

    def grown(folder: Path, replicates: int) -> Zoo:
        task = f"npz:{folder / 'images.npz'}"
        options = {"task": task, "task_options": {}, "grid": {"lr": [1e-3]}, "replicates": replicates}
        return populate(tiny(**options), tmp_path / "z")

    before = vectors(grown(folders[0], 2))
    (folders[0] / "images.npz").unlink()
    zoo = grown(folders[1], 4)
    assert len(zoo) == 2 * len(before)
    assert_same(before, {name: vector for name, vector in vectors(zoo).items() if name in before})
    assert len(set(zoo.column("task"))) == 1
    assert zoo.task().sha256 == zoo.header.tasks[zoo.column("task")[0]].sha256
    assert zoo.verify().ok
    with pytest.raises(ConfigError, match="are not those of"):
        grown(folders[2], 6)
    assert len(Zoo.open(tmp_path / "z")) == len(zoo)


def test_everything_wrong_is_said_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEIGHTATLAS_DATA", raising=False)
    with pytest.raises(DataError, match="WEIGHTATLAS_DATA"):
        populate(tiny(task="mnist", task_options={}), tmp_path / "z")
    with pytest.raises(ConfigError, match=r"takes images \(3, 8, 8\), those"):
        populate(tiny(network_options={"channels_in": 3}), tmp_path / "z")
    with pytest.raises(ConfigError, match="optimizer"):
        populate(tiny(grid={"optimizer": ["adm"]}), tmp_path / "z")
    with pytest.raises(ConfigError, match="too small"):
        populate(tiny(network="cnn3", network_options={}), tmp_path / "z")
    assert not (tmp_path / "z").exists()


def test_dropout_and_batch_norm(tmp_path: Path) -> None:
    recipe = Recipe.build(
        {
            "name": "n",
            "task": "digits",
            "task_options": {"train_size": 64},
            "network": "resnet_small",
            "network_options": {"widths": [4]},
            "epochs": 1,
            "grid": {"dropout": [0.0, 0.2, 0.4]},
        }
    )
    zoo = populate(recipe, tmp_path / "z")
    assert sorted(zoo.column("dropout")) == [0.0, 0.2, 0.4]
    assert zoo.verify().ok
    state_file = zoo.export(tmp_path / "out")[0]
    from safetensors.torch import load_file

    assert load_file(state_file)["1.num_batches_tracked"] == 0
