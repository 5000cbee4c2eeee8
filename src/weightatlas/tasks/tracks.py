"""Which photographs of traffic signs show one sign: the tracks of the bundled subset, recovered."""

from functools import lru_cache

import numpy as np
from jaxtyping import Int, UInt8

from weightatlas.errors import DataError
from weightatlas.tasks.split import linked

FRAMES = 30  # photographs of a track, one after the other
SEED, DRAWN = 20240601, 150  # of the subset, and images of each class in it
NEAR = 0.2  # below it, three quarters of such pairs are of neighboring tracks: one sign recorded twice
COUNTS = (  # training images of the 43 classes (Stallkamp et al., 2012)
    *(210, 2220, 2250, 1410, 1980, 1860, 420, 1440, 1410, 1470, 2010, 1320, 2100, 2160, 780),
    *(630, 420, 1110, 1200, 210, 360, 330, 390, 510, 270, 1500, 600, 240, 540, 270, 450, 780),
    *(240, 689, 420, 1200, 390, 210, 2070, 300, 360, 240, 240),
)
SHORT = (33, 20 * FRAMES - 1)  # the class and place where a track has one photograph less


@lru_cache(maxsize=1)
def subset() -> tuple[Int[np.ndarray, " images"], Int[np.ndarray, " images"]]:
    """Draw the subset again: 150 of the training images of each class in the order of their files, shuffled.

    Returns:
        Class and track of each of the 6,450 images; tracks are numbered from 0 within all classes.
    """
    rng = np.random.default_rng(SEED)
    labels = np.repeat(np.arange(len(COUNTS)), DRAWN)
    places = np.concatenate([rng.choice(count, DRAWN, replace=False) for count in COUNTS])
    places += (labels == SHORT[0]) & (places >= SHORT[1])
    starts = np.cumsum([0, *(-(-count // FRAMES) for count in COUNTS[:-1])])
    order = rng.permutation(len(labels))
    return labels[order], (starts[labels] + places // FRAMES)[order]


def sign_groups(
    images: UInt8[np.ndarray, "images height width channels"], labels: Int[np.ndarray, " images"]
) -> Int[np.ndarray, " images"]:
    """Number the signs on the training images of the subset: tracks, joined if they show one sign.

    Args:
        images: Training images of the file.
        labels: Their classes, by which the subset is recognized.

    Raises:
        DataError: It is another selection of images, of which tracks are not known.
    """
    known, tracks = subset()
    if not np.array_equal(labels, known):
        raise DataError(
            "The training images are not the 6,450 traffic signs whose tracks are known; cut at random, "
            "photographs of one sign would be in training and in validation.",
            todo="Use the file gtsrb32_8k.npz as it was made, or npz:PATH to have images cut at random.",
        )
    return linked(images, labels, tracks, NEAR)
