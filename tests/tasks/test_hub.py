"""Data sets of the hub: columns are found, sizes checked; the package itself only if it is installed."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from weightatlas.errors import ConfigError, DataError
from weightatlas.tasks import create_task

rng = np.random.default_rng(0)


def rows(count: int, image: str = "image", label: str = "label", side: int = 6) -> list[dict]:
    pixels = [rng.integers(0, 256, (side, side), dtype=np.uint8) for _ in range(count)]
    return [{image: Image.fromarray(one), label: index % 4} for index, one in enumerate(pixels)]


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> dict[tuple, dict]:
    """A package `datasets` that knows what the test puts in."""
    known: dict[tuple, dict] = {}

    def load_dataset(path: str, config: str | None = None) -> dict:
        if (path, config) not in known:
            raise FileNotFoundError(f"Couldn't find any data file at {path}.")
        return known[path, config]

    made = ModuleType("datasets")
    made.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", made)
    return known


def test_columns_are_found_and_parts_kept(package: dict) -> None:
    package["ylecun/mnist", None] = {"train": rows(40), "test": rows(8)}
    task = create_task("hf:ylecun/mnist")
    assert {part: len(labels) for part, labels in task.labels.items()} == {"train": 36, "val": 4, "test": 8}
    assert task.input_shape == (1, 6, 6)
    wanted = np.asarray(package["ylecun/mnist", None]["test"][5]["image"])
    np.testing.assert_array_equal(task.images["test"][5, 0], wanted)


def test_named_columns_are_remembered(package: dict) -> None:
    package["cifar", "plain"] = {"train": rows(40, "img", "coarse"), "validation": rows(8, "img", "coarse")}
    task = create_task("hf:cifar", config="plain", label="coarse", image_size=4)
    assert task.options == {"config": "plain", "label": "coarse", "image_size": 4}
    assert create_task(task.name, **task.options).sha256 == task.sha256
    assert len(task.labels["test"]) == 8


def test_what_is_missing_is_named(package: dict) -> None:
    with pytest.raises(DataError, match="cannot be loaded: Couldn't find"):
        create_task("hf:gone")
    package["a", None] = {"test": rows(8)}
    with pytest.raises(DataError, match="no part 'train', only test"):
        create_task("hf:a")
    package["b", None] = {"train": rows(8, "bild")}
    with pytest.raises(DataError, match="no column image or img or pixel_values; it has bild, label"):
        create_task("hf:b")
    package["c", None] = {"train": [*rows(8), *rows(8, side=5)]}
    with pytest.raises(DataError, match="2 sizes"):
        create_task("hf:c")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"weightatlas\[data\]"):
        create_task("hf:ylecun/mnist")


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="the extra 'data' is not installed")
def test_the_package_reads_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    for part, count in (("train", 10), ("test", 3)):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "pets" / part / name / f"{index}.png")
    task = create_task(f"hf:{tmp_path / 'pets'}")
    assert {part: len(labels) for part, labels in task.labels.items()} == {"train": 18, "val": 2, "test": 6}
    assert (task.classes, task.input_shape) == (2, (3, 6, 6))
