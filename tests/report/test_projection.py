"""Projections: PCA equals its definition; t-SNE is repeatable and gives up where it means nothing."""

import numpy as np

from weightatlas.report import projection


def test_pca_keeps_the_largest_variance_and_fixes_signs():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 5)) * np.array([5, 3, 1, 0.5, 0.1]) + 7
    view = projection.pca(points)
    variances = np.sort(np.linalg.eigvalsh(np.cov(points.T)))[::-1]
    assert np.allclose(view.var(axis=0, ddof=1), variances[:2])
    assert abs(np.corrcoef(view.T)[0, 1]) < 1e-8
    assert np.allclose(projection.pca(points[::-1])[::-1], view)


def test_pca_of_one_dimension_has_an_empty_second_axis():
    assert np.allclose(projection.pca(np.arange(5.0)[:, None])[:, 1], 0)


def test_tsne_separates_groups_and_repeats_itself():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 0.1, (20, 4)), rng.normal(5, 0.1, (20, 4))])
    view = projection.tsne(points)
    assert view is not None
    again = projection.tsne(points)
    assert again is not None
    assert np.array_equal(view, again)
    near = np.linalg.norm(view[:20] - view[:20].mean(0), axis=1).mean()
    assert np.linalg.norm(view[:20].mean(0) - view[20:].mean(0)) > 2 * near


def test_tsne_gives_up_on_few_or_equal_networks():
    assert projection.tsne(np.eye(5)) is None
    assert projection.tsne(np.ones((50, 3))) is None


def test_thin_keeps_both_ends_and_the_limit():
    assert projection.thin(5).tolist() == [0, 1, 2, 3, 4]
    chosen = projection.thin(10_000, most=100)
    assert len(chosen) == 100
    assert (chosen[0], chosen[-1]) == (0, 9999)
