"""Folders of images: EuroSAT's form, train and test folders, Tiny-ImageNet, damage."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weightatlas.errors import DataError, FileError
from weightatlas.tasks import create_task

rng = np.random.default_rng(0)


def write(path: Path, side: int = 8, mode: str = "RGB") -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (side, side, 3) if mode == "RGB" else (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_eurosat_one_folder_a_class(tmp_path: Path) -> None:
    made = {}
    for name in ("Forest", "AnnualCrop", "River"):
        for index in range(10):
            made[name, index] = write(tmp_path / "EuroSAT_RGB" / name / f"{name}_{index}.png")
    (tmp_path / "EuroSAT_RGB" / "notes").mkdir()
    (tmp_path / "EuroSAT_RGB" / "train.csv").write_text("a,b")
    task = create_task(f"image-folder:{tmp_path / 'EuroSAT_RGB'}")
    assert {part: len(labels) for part, labels in task.labels.items()} == {"train": 21, "val": 3, "test": 6}
    order = {"AnnualCrop": 0, "Forest": 1, "River": 2}
    known = {pixels.transpose(2, 0, 1).tobytes(): order[name] for (name, _), pixels in made.items()}
    for part in ("train", "val", "test"):
        found = [known[image.tobytes()] for image in task.images[part]]
        assert found == task.labels[part].tolist()
    small = create_task(task.name, image_size=4, grayscale=True)
    assert small.input_shape == (1, 4, 4)


def test_train_and_test_folders_stay_apart(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("val", 4)):
        for name in "ab":
            for index in range(count):
                write(tmp_path / part / name / f"{index}.jpg", mode="L")
    task = create_task(f"image-folder:{tmp_path}")
    assert {part: len(labels) for part, labels in task.labels.items()} == {"train": 18, "val": 2, "test": 8}
    assert task.input_shape == (3, 8, 8)


def test_tiny_imagenet(tmp_path: Path) -> None:
    folder = tmp_path / "tiny-imagenet-200"
    wnids = ["n02", "n01", "n03"]
    for name in wnids:
        for index in range(10):
            write(folder / "train" / name / "images" / f"{name}_{index}.JPEG", mode="RGB" if index else "L")
    lines = []
    for index in range(6):
        write(folder / "val" / "images" / f"val_{index}.JPEG")
        lines.append(f"val_{index}.JPEG\t{wnids[index % 3]}\t0\t0\t62\t62")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    task = create_task(f"tiny-imagenet:{folder}")
    assert task.labels["test"].tolist() == [0, 1, 2, 0, 1, 2]
    assert {part: len(labels) for part, labels in task.labels.items()} == {"train": 27, "val": 3, "test": 6}
    two = create_task(f"tiny-imagenet:{folder}", classes=2)
    assert (two.classes, len(two.labels["test"])) == (2, 4)
    (folder / "val" / "images" / "val_0.JPEG").unlink()
    with pytest.raises(DataError, match=r"no image .*val_0.JPEG"):
        create_task(f"tiny-imagenet:{folder}")
    (folder / "wnids.txt").unlink()
    with pytest.raises(DataError, match=r"wnids.txt"):
        create_task(f"tiny-imagenet:{folder}")


def test_damage_and_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        create_task(f"image-folder:{tmp_path / 'gone'}")
    write(tmp_path / "a" / "1.png")
    with pytest.raises(DataError, match="1 folders with images"):
        create_task(f"image-folder:{tmp_path}")
    for index in range(10):
        write(tmp_path / "b" / f"{index}.png", side=8 if index else 6)
    with pytest.raises(DataError, match="different sizes: 8 x 8 and 6 x 6"):
        create_task(f"image-folder:{tmp_path}")
    (tmp_path / "b" / "0.png").write_bytes((tmp_path / "a" / "1.png").read_bytes()[:40])
    with pytest.raises(FileError, match=r"0.png cannot be read"):
        create_task(f"image-folder:{tmp_path}", image_size=8)
