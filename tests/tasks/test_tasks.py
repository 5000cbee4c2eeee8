"""Tasks: splits without leakage, normalization, readers, named refusals."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from weightatlas.errors import ConfigError, DataError, FileError
from weightatlas.tasks import create_task, readers

rng = np.random.default_rng(0)


def images(count: int, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8)


def rows(task, *names: str) -> list[set[bytes]]:
    return [{image.tobytes() for image in task.images[name]} for name in names]


def test_digits_split() -> None:
    task = create_task("digits")
    assert {name: len(y) for name, y in task.labels.items()} == {"train": 1079, "val": 359, "test": 359}
    train, val, test = rows(task, "train", "val", "test")
    assert not train & test
    assert not train & val
    assert not val & test
    for labels in task.labels.values():
        share = np.bincount(labels) / len(labels)
        assert share.min() > 0.09
        assert share.max() < 0.11
    inputs, labels = task.split("train")
    assert inputs.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert abs(inputs.mean()) < 1e-4
    assert abs(inputs.std(correction=0) - 1) < 1e-4
    assert task.sha256 == create_task("digits").sha256 != create_task("digits", seed=1).sha256


def test_subset_is_part_of_the_training_images() -> None:
    small, whole = create_task("digits", train_size=100), create_task("digits")
    assert len(small.labels["train"]) == 100
    assert small.options == {"train_size": 100}
    assert rows(small, "train")[0] < rows(whole, "train")[0]
    assert rows(small, "test", "val") == rows(whole, "test", "val")
    assert np.bincount(small.labels["train"]).min() >= 9
    with pytest.raises(DataError, match="1079 training images"):
        create_task("digits", train_size=5000)


def test_fewer_test_images_leave_training_images_alone() -> None:
    small, whole = create_task("digits", test_size=50), create_task("digits")
    assert len(small.labels["test"]) == 50
    assert small.options == {"test_size": 50}
    assert rows(small, "test")[0] < rows(whole, "test")[0]
    assert rows(small, "train", "val") == rows(whole, "train", "val")
    assert small.sha256 != whole.sha256
    for size in (0, 360):
        with pytest.raises(DataError, match="359 test images"):
            create_task("digits", test_size=size)


def test_loss_and_score_per_network() -> None:
    task = create_task("digits")
    outputs, labels = torch.randn(3, 5, 10), torch.randint(10, (5,))
    expected = torch.stack([torch.nn.functional.cross_entropy(o, labels) for o in outputs])
    assert torch.allclose(task.loss(outputs, labels), expected)
    assert task.loss(outputs, labels, "none").shape == (3, 5)
    perfect = torch.nn.functional.one_hot(labels, 10).float()
    assert torch.equal(task.score(torch.stack([perfect, -perfect]), labels), torch.tensor([1.0, 0.0]))


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    x, y = images(100, 6, 6, 3), np.arange(100) % 4
    np.savez(path, x_train=x, y_train=y)
    task = create_task(f"npz:{path}", grayscale=True)
    assert task.input_shape == (1, 6, 6)
    assert task.classes == 4
    assert [len(task.labels[s]) for s in ("train", "val", "test")] == [70, 10, 20]
    np.savez(path, x_train=x, y_train=y, x_test=x[:7], y_test=y[:7])
    task = create_task(f"npz:{path}")
    assert np.array_equal(task.images["test"], x[:7].transpose(0, 3, 1, 2))


def test_bad_npz(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, x_train=images(10, 6, 6), labels=np.zeros(10))
    with pytest.raises(DataError, match="y_train"):
        create_task(f"npz:{path}")
    np.savez(path, x_train=images(10, 6, 6).astype(np.float32), y_train=np.zeros(9, int))
    with pytest.raises(DataError, match=r"float32.*10 images"):
        create_task(f"npz:{path}")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FileError, match=r"bad\.npz"):
        create_task(f"npz:{path}")
    np.savez(path, x_train=images(10, 6, 6), y_train=np.array([{}] * 10))
    with pytest.raises(FileError, match=r"bad\.npz"):
        create_task(f"npz:{path}")
    with pytest.raises(DataError, match="no file"):
        create_task(f"npz:{tmp_path / 'none.npz'}")


def test_a_file_that_has_moved_gives_the_same_task(tmp_path: Path) -> None:
    old, new = tmp_path / "old.npz", tmp_path / "new.npz"
    np.savez(old, x_train=images(80, 6, 6), y_train=np.arange(80) % 4)
    options = {"train_size": 40, "test_size": 9}
    before = create_task(f"npz:{old}", **options)
    old.rename(new)
    assert create_task(f"npz:{new}", **options).sha256 == before.sha256


def test_share_and_scale_are_options_by_which_a_task_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x_train=images(80, 6, 6), y_train=np.arange(80) % 4)
    task = create_task(f"npz:{path}", val_share=0.3, scale=16)
    assert (len(task.labels["val"]), task.scale) == (24, 16.0)
    assert create_task(task.name, **task.options).sha256 == task.sha256
    usual = create_task(f"npz:{path}", val_share=0.1, scale=255)
    assert usual.options == {}
    assert create_task(usual.name).sha256 == usual.sha256
    assert create_task("digits").options == {}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": images(4, 6, 6), "y_train": np.arange(4) % 2}, "of 4 images none is left for val"),
        (
            {"x_train": images(40, 6, 6), "y_train": np.arange(40) % 2}
            | {"x_test": images(5, 7, 6), "y_test": np.arange(5) % 2},
            r"test images are \(1, 7, 6\), training images \(1, 6, 6\)",
        ),
        (
            {"x_train": images(40, 6, 6), "y_train": np.arange(40) % 2}
            | {"x_test": images(5, 6, 6, 3), "y_test": np.arange(5) % 2},
            r"test images are \(3, 6, 6\)",
        ),
        ({"x_train": np.uint8(1), "y_train": np.int64(1)}, r"labels of shape \(\)"),
        ({"x_train": images(4, 6, 6), "y_train": np.int64(1)}, r"labels of shape \(\)"),
    ],
)
def test_images_that_make_no_task_are_named(tmp_path: Path, arrays: dict, words: str) -> None:
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(DataError, match=words):
        create_task(f"npz:{tmp_path / 'odd.npz'}")


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", images(4, 6, 6))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(FileError, match=r"one\.npz cannot be read as npz"):
        create_task(f"npz:{tmp_path / 'one.npz'}")
    packed = bytearray(gzip.compress(idx(images(40, 5, 5))))
    packed[10] ^= 0xFF  # the first byte of the compressed block
    (tmp_path / "images.gz").write_bytes(packed)
    with pytest.raises(FileError, match=r"images\.gz cannot be read"):
        readers.read_idx(tmp_path / "images.gz")


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def test_mnist_idx(tmp_path: Path) -> None:
    x, y = images(40, 5, 5), (np.arange(40) % 10).astype(np.uint8)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(y))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(x[:9]))
    with pytest.raises(DataError, match="t10k-labels"):
        create_task(f"mnist-idx:{tmp_path}")
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(y[:9]))
    task = create_task(f"mnist-idx:{tmp_path}")
    assert task.raw("test").shape == (9, 1, 5, 5)
    assert np.array_equal(task.images["test"][:, 0], x[:9])
    assert np.array_equal(task.labels["test"], y[:9])
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(x[:9])[:-1])
    with pytest.raises(FileError, match="promises"):
        create_task(f"mnist-idx:{tmp_path}")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x))[:-20])
    with pytest.raises(FileError, match="train-images"):
        create_task(f"mnist-idx:{tmp_path}")


@pytest.mark.parametrize(("name", "label_bytes"), [("cifar10-bin", 1), ("cifar100-bin", 2)])
def test_cifar_binary(tmp_path: Path, name: str, label_bytes: int) -> None:
    pixels, labels = images(20, 3, 32, 32), (np.arange(20) % 10).astype(np.uint8)
    coarse = np.full((20, label_bytes - 1), 99, np.uint8)
    data = np.concatenate([coarse, labels[:, None], pixels.reshape(20, -1)], axis=1).tobytes()
    for file in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", "train.bin", "test.bin"]:
        (tmp_path / file).write_bytes(data)
    task = create_task(f"{name}:{tmp_path}")
    assert np.array_equal(task.images["test"], pixels)
    assert np.array_equal(task.labels["test"], labels)
    assert len(task.labels["train"]) + len(task.labels["val"]) == (100 if label_bytes == 1 else 20)
    for file in tmp_path.glob("test*"):
        file.write_bytes(data[:-5])
    with pytest.raises(FileError, match="multiple"):
        create_task(f"{name}:{tmp_path}")


def test_named_data_need_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEIGHTATLAS_DATA", raising=False)
    with pytest.raises(DataError, match="WEIGHTATLAS_DATA is not set"):
        create_task("cifar10")
    monkeypatch.setenv("WEIGHTATLAS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"cifar10_20k\.npz"):
        create_task("cifar10")
    np.savez(tmp_path / "cifar10_20k.npz", x_train=images(30, 4, 4, 3), y_train=np.arange(30) % 3)
    assert create_task("cifar10").name == "cifar10"


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="digits"):
        create_task("digit")
    with pytest.raises(ConfigError, match="gray"):
        create_task("digits", gray=True)
