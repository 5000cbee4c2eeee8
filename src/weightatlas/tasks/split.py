"""Which images a split takes: as even over the classes as the data are, groups whole if there are some."""

import numpy as np
from jaxtyping import Float, Int, UInt8

from weightatlas.runtime import numpy_generator_of


def stratified(
    labels: Int[np.ndarray, " images"],
    order: Int[np.ndarray, " some"],
    count: int,
    *seeds: object,
) -> tuple[Int[np.ndarray, " rest"], Int[np.ndarray, " count"]]:
    """Take `count` images out of `order`, as evenly over the classes as the data are.

    Returns:
        What stays and what was taken, each in ascending order.
    """
    rng = numpy_generator_of("stratified", *seeds)
    shuffled = rng.permutation(order)
    grouped = shuffled[np.argsort(labels[shuffled], kind="stable")]
    rank = np.empty(len(grouped))
    for members in np.split(np.arange(len(grouped)), np.flatnonzero(np.diff(labels[grouped])) + 1):
        rank[members] = (np.arange(len(members)) + rng.random()) / len(members)
    chosen = np.argsort(rank, kind="stable")[:count]
    taken = np.zeros(len(grouped), bool)
    taken[chosen] = True
    return np.sort(grouped[~taken]), np.sort(grouped[taken])


def whole_groups(
    labels: Int[np.ndarray, " images"],
    groups: Int[np.ndarray, " images"],
    order: Int[np.ndarray, " some"],
    count: int,
    *seeds: object,
) -> tuple[Int[np.ndarray, " rest"], Int[np.ndarray, " taken"]]:
    """Take about `count` images out of `order`, as evenly over the classes as whole groups allow.

    Of a class with several groups at least one is taken and one stays.

    Args:
        labels: Class of every image.
        groups: Group of every image; the images of a group are of one class.
        order: Images to choose from.
        count: How many to take, as nearly as can be.
        seeds: What the choice depends on.

    Returns:
        What stays and what was taken, each in ascending order.
    """
    rng = numpy_generator_of("whole groups", *seeds)
    taken = np.zeros(len(labels), bool)
    for label in np.unique(labels[order]):
        own = order[labels[order] == label]
        names, sizes = np.unique(groups[own], return_counts=True)
        chosen = _near(sizes, count * len(own) / len(order), rng.permutation(len(names)))
        taken[own[np.isin(groups[own], names[chosen])]] = True
    return np.sort(order[~taken[order]]), np.sort(order[taken[order]])


def linked(
    images: UInt8[np.ndarray, "images height width channels"],
    labels: Int[np.ndarray, " images"],
    groups: Int[np.ndarray, " images"],
    near: float,
) -> Int[np.ndarray, " images"]:
    """Join groups of a class of which two images are nearly the same, and chains of such groups.

    Args:
        images: Bytes.
        labels: Class of every image.
        groups: Group of every image.
        near: Distance of two images, see `distances`, below which their groups are joined.

    Returns:
        Group of every image, numbered from 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, numbers = np.unique(groups, return_inverse=True)
    pairs = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        first, second = np.nonzero(distances(images[own], images[own]) < near)
        pairs.append(np.stack([numbers[own[first]], numbers[own[second]]]))
    rows, columns = np.concatenate(pairs, axis=1)
    shape = (len(names), len(names))
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=shape)
    return connected_components(graph, directed=False)[1][numbers].astype(np.int64)


def distances(
    first: UInt8[np.ndarray, "first height width channels"],
    second: UInt8[np.ndarray, "second height width channels"],
) -> Float[np.ndarray, "first second"]:
    """Root mean squared differences of gray images of mean 0 and variance 1: 0 the same, 1.4 unrelated."""
    one, other = _standard(first), _standard(second)
    return np.sqrt(np.maximum(2 - 2 * (one @ other.T), 0))


def _standard(images: np.ndarray) -> np.ndarray:
    """Gray images as rows of mean 0 and length 1."""
    gray = images.mean(-1).reshape(len(images), -1)
    gray = gray - gray.mean(1, keepdims=True)
    return gray / np.maximum(np.linalg.norm(gray, axis=1, keepdims=True), 1e-6)


def _near(sizes: np.ndarray, wanted: float, turns: np.ndarray) -> list[int]:
    """Choose groups in turn as long as that brings their total nearer to what is wanted."""
    chosen, total = [], 0
    for turn in turns.tolist():
        if len(chosen) < len(sizes) - 1 and abs(total + sizes[turn] - wanted) < abs(total - wanted):
            chosen.append(turn)
            total += sizes[turn]
    return chosen if chosen or len(sizes) == 1 or wanted == 0 else [int(sizes.argmin())]
