"""Groups of images stay whole, chains of near copies are one group, classes keep their shares."""

import numpy as np
import pytest

from weightatlas.tasks.split import distances, linked, whole_groups
from weightatlas.tasks.task import build_task

CHAIN, CHAINS = 10, 8


def chains(step: float = 0.25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shuffled walks in the space of images, eight in each of three classes: neighbors alike, ends hardly."""
    rng = np.random.default_rng(0)
    walks = rng.standard_normal((3 * CHAINS, CHAIN, 8 * 8)) * step
    walks[:, 0] = rng.standard_normal((3 * CHAINS, 8 * 8))
    pixels = np.clip(128 + 25 * walks.cumsum(axis=1), 0, 255).astype(np.uint8)
    order = rng.permutation(3 * CHAINS * CHAIN)
    numbers = order // CHAIN
    return pixels.reshape(-1, 8, 8, 1)[order], numbers % 3, numbers


def partners(groups: np.ndarray) -> np.ndarray:
    return groups[:, None] == groups[None]


def test_images_of_a_chain_are_in_one_split() -> None:
    images, labels, numbers = chains()
    left = []
    for groups in (None, numbers):
        task = build_task("walks", (images, labels), None, val_share=0.15, groups=groups)
        shown = {image.tobytes(): int(number) for image, number in zip(images, numbers, strict=True)}
        found = [{shown[i.tobytes()] for i in task.images[name]} for name in ("train", "val", "test")]
        left.append(len(found[0] & found[1]) + len(found[0] & found[2]) + len(found[1] & found[2]))
        assert set().union(*found) == set(numbers.tolist())
        for name, share in (("val", 0.15), ("test", 0.2)):
            count = np.bincount(task.labels[name], minlength=3)
            assert count.min() > 0
            assert abs(count.sum() - share * len(labels)) <= (3 * CHAIN / 2 if groups is not None else 1)
    assert left[0] > 20
    assert left[1] == 0


def test_groups_follow_the_first_classes() -> None:
    images, labels, numbers = chains()
    task = build_task("walks", (images, labels), None, val_share=0.15, groups=numbers, classes=2)
    kept = labels < 2
    same = build_task("walks", (images[kept], labels[kept]), None, val_share=0.15, groups=numbers[kept])
    assert task.sha256 == same.sha256
    other = build_task("walks", (images, labels), None, val_share=0.15, groups=numbers, classes=2, seed=1)
    assert task.sha256 != other.sha256


def test_chains_are_recovered_from_their_images() -> None:
    images, labels, numbers = chains()
    found = linked(images, labels, np.arange(len(labels)), near=0.5)
    assert np.array_equal(partners(found), partners(numbers))
    assert np.array_equal(linked(images, labels, numbers, near=0.0), numbers)


def test_a_copy_joins_two_groups_of_a_class_but_no_two_classes() -> None:
    images, labels, numbers = chains()
    one, other, stranger = (int(np.flatnonzero(numbers == number)[0]) for number in (0, 3, 1))
    images[[other, stranger]] = images[one]
    expected = np.where(numbers == 3, 0, numbers)
    assert np.array_equal(partners(linked(images, labels, numbers, near=0.01)), partners(expected))


def test_brightness_and_contrast_make_no_distance() -> None:
    images = chains()[0][:5]
    darker = (images // 2 + 20).astype(np.uint8)
    found = distances(images, darker)
    assert found.diagonal().max() < 0.05
    assert (found + 9 * np.eye(5)).min() > 0.2
    black = np.zeros((1, 8, 8, 1), np.uint8)
    assert distances(black, images) == pytest.approx(np.sqrt(2))


@pytest.mark.parametrize(("sizes", "taken"), [([100, 2], {1}), ([7], set()), ([5, 5, 5, 5], {5})])
def test_large_groups(sizes: list[int], taken: set[int]) -> None:
    """A class of one group stays, of several one is taken however large they are."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    rest, found = whole_groups(np.zeros(len(groups), int), groups, np.arange(len(groups)), 3, "seed")
    assert np.array_equal(np.sort(np.concatenate([rest, found])), np.arange(len(groups)))
    if sizes == [5, 5, 5, 5]:
        assert len(found) == 5
    else:
        assert set(groups[found].tolist()) == taken
