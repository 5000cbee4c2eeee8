"""Figures: pure, deterministic, and robust to odd numbers."""

import numpy as np
import pytest

from weightatlas.report import Curves, Generated, LatentMap, Scatter, SizeCurve, figures


def test_accuracy_distributions_show_counts_and_medians():
    text = figures.accuracy_distributions({"original": np.full(7, 0.5), "rebuilt": np.linspace(0.1, 0.9, 9)})
    assert "7 networks" in text
    assert "9 networks" in text
    assert text.count("0.500") == 2


def test_diverged_networks_are_left_out_of_distributions():
    values = np.array([0.5, np.nan, 0.7, np.inf])
    assert "2 networks" in figures.accuracy_distributions({"original": values})


def test_scatter_states_the_explained_variance():
    true = np.linspace(0, 1, 50)
    perfect = Scatter(label="accuracy", method="oracle", true=true, predicted=true)
    mean = Scatter(label="accuracy", method="mean", true=true, predicted=np.full(50, 0.5), kind="baseline")
    text = figures.predicted_versus_true([perfect, mean])
    assert "oracle, R² = 1.00" in text
    assert "mean, R² = 0.00" in text or "mean, R² = -0.00" in text


def test_very_bad_compression_is_drawn_at_the_edge():
    curve = SizeCurve(method="int2", kind="baseline", bits=np.array([2.0]), excess=np.array([-50.0]))
    edge = SizeCurve(method="int2", kind="baseline", bits=np.array([2.0]), excess=np.array([-1.0]))
    assert figures.size_curve([curve]) == figures.size_curve([edge])


def test_few_networks_have_a_map_without_tsne():
    data = LatentMap(embeddings=np.eye(4), values=np.arange(4))
    text = figures.latent_map(data)
    assert "PCA" in text
    assert "t-SNE" not in text


def test_a_map_draws_at_most_two_thousand_points():
    rng = np.random.default_rng(0)
    text = figures.latent_map(LatentMap(embeddings=np.ones((3000, 3)), values=rng.random(3000)))
    assert "Map of 2000 embeddings" in text


def test_missing_values_break_no_curve():
    curves = Curves(title="Loss", x=np.arange(4), lines={"train": np.ones(4), "val": [1, np.nan, 2, np.nan]})  # type: ignore[dict-item]
    assert "val" in figures.training_curves([curves])


@pytest.mark.parametrize("place", range(2))
def test_figures_are_the_same_at_every_call(place):
    rng = np.random.default_rng(0)
    draw = [
        lambda: figures.agreement_histogram({"refined": np.linspace(0.5, 1, 30)}, 0.8),
        lambda: figures.generated_networks(
            [Generated(method="a", accuracy=rng.random(3) * 0, distance=[1, 2, 3])]
        ),  # type: ignore[arg-type]
    ][place]
    assert draw() == draw()
