"""The regularizer is half the squared distance of two views, of logits or embeddings."""

import pytest
import torch

from tests.encoders import small
from weightatlas.encoders.base import Encoded
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError
from weightatlas.objectives import Invariance, Step
from weightatlas.weights.batch import weights_of


def step(embedding: torch.Tensor, predictions: torch.Tensor | None, views: int = 2) -> Step:
    mask = torch.ones(len(embedding), 1, dtype=torch.bool)
    encoded = Encoded(embedding[:, None], mask, embedding)
    weights = weights_of(small.values(len(embedding)), small.spec())
    return Step(weights, create_encoder("pca", small.spec()), encoded, views=views, predictions=predictions)


def test_both_places_follow_the_formula():
    embedding, logits = torch.randn(8, 3), torch.randn(8, 2)
    for term, seen in ((Invariance(), logits), (Invariance("embedding"), embedding)):
        expected = 0.5 * (seen[:4] - seen[4:]).square().sum(1).mean()
        found = term(step(embedding, logits))["invariance"]
        torch.testing.assert_close(found, expected)


def test_the_hinge_forgives_small_distances():
    embedding = torch.tensor([[0.0], [0.0], [1.0], [4.0]])
    found = Invariance("embedding", tolerance=1.0)(step(embedding, None))["invariance"]
    assert float(found) == pytest.approx(0.5 * (8.0 - 1.0))
    same = torch.randn(3, 2).repeat(2, 1)
    assert float(Invariance("embedding")(step(same, None))["invariance"]) == 0.0


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="two views"):
        Invariance("embedding")(step(torch.zeros(2, 1), None, views=1))
    with pytest.raises(ConfigError, match="there is no head"):
        Invariance()(step(torch.zeros(2, 1), None))
