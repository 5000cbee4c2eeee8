"""NT-Xent for any number of networks, checked against its definition."""

import pytest
import torch

from tests.encoders import small
from weightatlas.encoders.base import Encoded
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError
from weightatlas.objectives import Contrastive, Step
from weightatlas.objectives.contrastive import nt_xent
from weightatlas.weights.batch import weights_of


def by_definition(first: torch.Tensor, second: torch.Tensor, tau: float) -> torch.Tensor:
    both = torch.nn.functional.normalize(torch.cat([first, second]), dim=1)
    total, count = torch.tensor(0.0), len(first)
    for i in range(2 * count):
        scores = both @ both[i] / tau
        others = torch.cat([scores[:i], scores[i + 1 :]])
        total = total - scores[(i + count) % (2 * count)] + torch.logsumexp(others, 0)
    return total / (2 * count)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_it_equals_its_definition(count: int):
    first, second = torch.randn(2, count, 5)
    torch.testing.assert_close(
        nt_xent(first, second), by_definition(first, second, 0.1), atol=1e-5, rtol=1e-5
    )


def test_equal_views_score_better_than_strangers():
    first, other = torch.randn(2, 16, 8)
    assert nt_xent(first, first) < 0.1 < nt_xent(first, other)


def test_it_pulls_views_together():
    """The released 'positive' variant has the wrong sign; this one must raise the cosine."""
    first, second = torch.randn(8, 4), torch.randn(8, 4, requires_grad=True)
    before = torch.cosine_similarity(first, second).mean()
    for _ in range(50):
        (grad,) = torch.autograd.grad(nt_xent(first, second), second)
        second = (second - 0.5 * grad).detach().requires_grad_()
    assert torch.cosine_similarity(first, second).mean() > before + 0.3


def test_it_needs_two_views():
    encoded = Encoded(torch.zeros(4, 2, 3), torch.ones(4, 2, dtype=torch.bool), torch.randn(4, 3))
    weights = weights_of(small.values(4), small.spec())
    step = Step(weights=weights, encoder=create_encoder("pca", small.spec()), encoded=encoded)
    with pytest.raises(ConfigError, match="two views"):
        Contrastive(3)(step)
