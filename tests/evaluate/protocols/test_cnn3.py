"""`bench cnn3`: the table of rebuilding, on networks of the published size."""

from pathlib import Path

import pytest

from weightatlas.errors import DataError
from weightatlas.evaluate.protocols import cnn3 as cnn3_bench
from weightatlas.evaluate.protocols.cnn3 import cnn3
from weightatlas.results import Record
from weightatlas.zoo.recipe import load_recipe


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cnn3") / "r.json"


@pytest.fixture(scope="module")
def records(there, cache, out) -> list[Record]:
    """The bench on digits networks, which need no data from elsewhere."""
    return cnn3("smoke", out, (0,), cache, recipe="digits", methods=("activation", "trivial"))


def test_plain_and_refined_stand_beside_trivial_rebuilds(records):
    ours = {r.method for r in records if r.kind == "ours"}
    baselines = {r.method for r in records if r.kind == "baseline"}
    assert ours == {"activation", "activation, refined"}
    assert {"best training network", "best of these (a0)", "fresh network, refined"} <= baselines
    assert all(r.bench == "cnn3" for r in records)
    published = {r.method: r.value for r in records if r.kind == "published"}
    assert published == {"SANE, CS, plain": 0.319, "SANE, CSB, plain": 0.596}


def test_a_second_run_rebuilds_nothing(records, cache, out, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was measured again")

    monkeypatch.setattr(cnn3_bench, "rebuild_records", refuse)
    settings = {"recipe": "digits", "methods": ("activation", "trivial")}
    assert cnn3("smoke", out, (0,), cache, **settings) == records
    with pytest.raises(AssertionError, match="measured again"):
        cnn3("smoke", out, (1,), cache, **settings)


def test_missing_images_are_named_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.delenv("WEIGHTATLAS_DATA", raising=False)
    with pytest.raises(DataError, match="WEIGHTATLAS_DATA is not set") as raised:
        cnn3("smoke", tmp_path / "r.json", (0,))
    assert "cifar10_20k.npz" in str(raised.value)
    monkeypatch.setenv("WEIGHTATLAS_DATA", str(tmp_path))
    with pytest.raises(DataError, match="which is not there"):
        cnn3("smoke", tmp_path / "r.json", (0,))


def test_the_laptop_zoo_is_as_large_as_promised():
    recipe = load_recipe("cnn3_cifar10", "laptop")
    assert recipe.networks >= 80
    assert recipe.epochs >= 12
    assert recipe.task_options["train_size"] >= 5000
