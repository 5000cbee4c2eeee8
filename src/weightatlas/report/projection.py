"""Embeddings in the plane: principal components and t-SNE, the same at every run."""

import warnings

import numpy as np

_FEWEST = 8  # t-SNE says nothing about fewer networks.


def pca(points: np.ndarray) -> np.ndarray:
    """Project rows on their first two principal components, with signs fixed.

    Example:
        >>> import numpy as np
        >>> pca(np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]))[:, 0].tolist()
        [-2.0, 0.0, 2.0]

    Args:
        points: Rows to project, shape `(networks, dim)`.

    Returns:
        Shape `(networks, 2)`; the entry of each component with the largest size is positive.
    """
    centered = np.asarray(points, np.float64)
    centered = centered - centered.mean(axis=0)
    components = np.zeros((2, centered.shape[1]))
    found = np.linalg.svd(centered, full_matrices=False)[2][:2]
    components[: len(found)] = found
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[[0, 1], largest])
    return centered @ (components * np.where(signs == 0, 1, signs)[:, None]).T


def tsne(points: np.ndarray, seed: int = 0) -> np.ndarray | None:
    """Embed rows in the plane by t-SNE (van der Maaten and Hinton, 2008), started at PCA.

    Args:
        points: Rows to embed, shape `(networks, dim)`.
        seed: Seed of the optimization.

    Returns:
        Shape `(networks, 2)`, or none if there are too few networks or they are all the same.
    """
    points = np.asarray(points, np.float64)
    if len(points) < _FEWEST or np.allclose(points, points[0]):
        return None
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    width = min(50, *points.shape)
    if points.shape[1] > width:
        points = PCA(width, random_state=seed).fit_transform(points)
    perplexity = min(30.0, (len(points) - 1) / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(points)


def thin(count: int, most: int = 2000) -> np.ndarray:
    """Choose which of `count` points to draw, evenly and at most `most`."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
