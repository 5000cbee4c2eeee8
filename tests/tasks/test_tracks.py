"""Traffic signs: the draw of the subset is repeated exactly, and no sign is in training and in validation."""

import os
from pathlib import Path

import numpy as np
import pytest

from weightatlas.errors import DataError
from weightatlas.tasks import create_task
from weightatlas.tasks.bundled import FILES
from weightatlas.tasks.readers import read_npz
from weightatlas.tasks.split import distances
from weightatlas.tasks.task import Task, build_task
from weightatlas.tasks.tracks import COUNTS, DRAWN, FRAMES, NEAR, sign_groups, subset

needs_data = pytest.mark.skipif("WEIGHTATLAS_DATA" not in os.environ, reason="needs $WEIGHTATLAS_DATA")


def test_the_subset_has_tracks_of_at_most_thirty_photographs() -> None:
    labels, tracks = subset()
    assert sum(COUNTS) == 39_209
    assert np.bincount(labels).tolist() == [DRAWN] * 43
    assert np.bincount(tracks).max() <= FRAMES
    assert len(np.unique(tracks)) == 1239
    assert len(set(zip(tracks.tolist(), labels.tolist(), strict=True))) == 1239
    assert labels[:12].tolist() == [20, 6, 16, 29, 36, 29, 2, 13, 15, 37, 40, 25]  # as in the file


def test_another_selection_is_refused() -> None:
    labels = subset()[0][::-1]
    with pytest.raises(DataError, match="npz:PATH"):
        sign_groups(np.zeros((len(labels), 32, 32, 3), np.uint8), labels)


def nearest(task: Task, name: str) -> np.ndarray:
    """Distance of each image of a split to the nearest training image of its class."""
    parts = []
    for label in range(task.classes):
        own, trained = (
            task.images[part][task.labels[part] == label].transpose(0, 2, 3, 1) for part in (name, "train")
        )
        parts.append(distances(own, trained).min(axis=1))
    return np.concatenate(parts)


@needs_data
def test_no_validation_image_is_nearly_a_training_image() -> None:
    train, test = read_npz(Path(os.environ["WEIGHTATLAS_DATA"]) / FILES["gtsrb"])
    random, whole = build_task("gtsrb", train, test, classes=10), create_task("gtsrb", classes=10)
    assert (nearest(random, "val") < NEAR).any()
    assert not (nearest(whole, "val") < NEAR).any()
    assert np.median(nearest(random, "val")) < 0.9 * np.median(nearest(random, "test"))
    assert np.median(nearest(whole, "val")) > 0.95 * np.median(nearest(whole, "test"))
    assert np.bincount(whole.labels["val"], minlength=10).min() >= 10


@needs_data
def test_images_of_a_track_are_nearer_to_each_other_than_to_others() -> None:
    (images, labels), _ = read_npz(Path(os.environ["WEIGHTATLAS_DATA"]) / FILES["gtsrb"])
    tracks, own = subset()[1], np.flatnonzero(labels == 1)
    found = distances(images[own], images[own]) + 9 * np.eye(len(own))
    shared = tracks[own][found.argmin(axis=1)] == tracks[own]
    chance = np.mean(tracks[own][:, None] == tracks[own][None])
    assert shared.mean() > 10 * chance
