"""Query pools: sources, shapes, and no evaluation images."""

import numpy as np
import pytest
import torch

from weightatlas.errors import ConfigError, DataError
from weightatlas.tasks import QueryPool, Task, create_task


def color_task() -> Task:
    rng = np.random.default_rng(0)
    images = {s: rng.integers(0, 256, (30, 3, 12, 12), dtype=np.uint8) for s in ("train", "val", "test")}
    return Task("color", images, {s: np.arange(30) % 3 for s in images}, classes=3)


def test_pool_of_training_images_holds_no_evaluation_image() -> None:
    task = create_task("digits")
    pool = QueryPool(task)
    seen = {image.numpy().tobytes() for image in pool.inputs}
    assert len(pool) == 1079
    assert all(image.numpy().tobytes() in seen for image in task.split("train")[0])
    for split in ("val", "test"):
        assert not any(image.numpy().tobytes() in seen for image in task.split(split)[0])
        with pytest.raises(ConfigError, match=split):
            QueryPool(task, source=split)


def test_another_split_of_the_same_data_brings_no_evaluation_image() -> None:
    task, other = create_task("digits"), create_task("digits", seed=1)
    held = {image.tobytes() for split in ("val", "test") for image in task.images[split]}
    leaks = sum(image.tobytes() in held for image in other.images["train"])
    assert leaks > 0
    pool = QueryPool(task, source=other)
    seen = {image.numpy().tobytes() for image in pool.inputs}
    assert len(pool) == 1079 - leaks
    assert not any(image.numpy().tobytes() in seen for s in ("val", "test") for image in task.split(s)[0])
    swapped = Task("swapped", {**task.images, "train": task.images["val"]}, task.labels, 10, 16.0)
    with pytest.raises(DataError, match="'swapped' are evaluation images of 'digits'"):
        QueryPool(task, source=swapped)


def test_sampling_depends_on_the_generator_alone() -> None:
    pool = QueryPool(create_task("digits"), size=50, seed=3)
    index, inputs = pool.sample(20, torch.Generator().manual_seed(1))
    again, _ = pool.sample(20, torch.Generator().manual_seed(1))
    other, _ = pool.sample(20, torch.Generator().manual_seed(2))
    assert torch.equal(index, again)
    assert not torch.equal(index, other)
    assert index.unique().numel() == 20
    assert torch.equal(inputs, pool.inputs[index])
    assert len(pool.sample(99)[0]) == 50


@pytest.mark.parametrize("source", ["uniform", color_task()])
def test_other_sources_come_in_this_shape_and_normalization(source: str | Task) -> None:
    task = create_task("digits")
    pool = QueryPool(task, source=source, size=20)
    assert pool.inputs.shape == (20, 1, 8, 8)
    raw = pool.inputs * task.std[0] + task.mean[0]
    assert raw.min() >= -1e-6
    assert raw.max() <= 1 + 1e-6
    assert 0.3 < raw.mean() < 0.7
    assert torch.equal(pool.inputs, QueryPool(task, source=source, size=20).inputs)


def test_gray_images_serve_color_networks() -> None:
    pool = QueryPool(color_task(), source="digits", size=10)
    assert pool.inputs.shape == (10, 3, 12, 12)


def test_empty_pool_is_refused() -> None:
    with pytest.raises(ConfigError, match="size is 0"):
        QueryPool(create_task("digits"), size=0)
