"""Images are resized and thinned out by class before anything is split."""

import numpy as np
import pytest

from weightatlas.errors import DataError
from weightatlas.tasks import create_task
from weightatlas.tasks.images import first_classes, resized


def test_resizing_keeps_brightness_and_shape() -> None:
    images = np.zeros((3, 8, 8, 1), np.uint8)
    images[:, :, 4:] = 200
    small = resized(images, 4)
    assert small.shape == (3, 4, 4, 1)
    assert small[0, 0, 0, 0] < 20
    assert small[0, 0, 3, 0] > 180
    assert abs(float(small.mean()) - 100) < 3
    assert resized(images, 8) is images
    with pytest.raises(DataError, match="0 x 0"):
        resized(images, 0)


def test_a_task_of_fewer_classes_and_pixels_can_be_made_again() -> None:
    task = create_task("digits", classes=3, image_size=6)
    assert task.input_shape == (1, 6, 6)
    assert task.classes == 3
    assert set(task.labels["test"].tolist()) == {0, 1, 2}
    assert create_task(task.name, **task.options).sha256 == task.sha256
    assert create_task("digits").sha256 != task.sha256
    assert "classes" not in create_task("digits").options


def test_missing_classes_are_named() -> None:
    images, labels = np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 1, 3])
    with pytest.raises(DataError, match="keep 3 classes, of which 2 have images"):
        first_classes("x", images, labels, 3)
    kept, names = first_classes("x", images, labels, 2)
    assert (len(kept), names.tolist()) == (3, [0, 1, 1])
