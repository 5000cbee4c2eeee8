"""Scores, predictions, agreement and cached outputs."""

import pytest
import torch
from torch.nn import functional as F

from tests.population.small import make, reference, toy_data
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.population.score import agreement, predictions, score
from weightatlas.population.targets import cache_targets


@pytest.fixture
def three() -> tuple[Population, torch.Tensor, torch.Tensor]:
    network, spec = make("plain")
    weights = initialize(spec, torch.arange(3), "kaiming_normal")
    outputs = torch.stack([reference(network, spec, row)(toy_data()["test"][0]) for row in weights])
    return Population(network, spec, memory_mb=0.2), weights, outputs.detach()


def test_score_and_predictions(three: tuple[Population, torch.Tensor, torch.Tensor]) -> None:
    population, weights, outputs = three
    inputs, labels = toy_data()["test"]
    found = score(population, weights, inputs, labels)
    expected = torch.stack([F.cross_entropy(o, labels) for o in outputs])
    torch.testing.assert_close(found["loss"], expected)
    assert torch.equal(found["acc"], (outputs.argmax(2) == labels).float().mean(1))
    assert torch.equal(predictions(population, weights, inputs), outputs.argmax(2))


def test_agreement_counts_equal_predictions() -> None:
    first, second = torch.randint(0, 4, (3, 50)), torch.randint(0, 4, (2, 50))
    expected = torch.stack([torch.stack([(a == b).float().mean() for b in second]) for a in first])
    torch.testing.assert_close(agreement(first, second), expected)


def test_targets(three: tuple[Population, torch.Tensor, torch.Tensor]) -> None:
    population, weights, outputs = three
    rows, queries = torch.tensor([2, 0]), torch.tensor([5, 1, 1])
    for dtype, bound in ((torch.float32, 1e-5), (torch.float16, 1e-2)):
        targets = cache_targets(population, weights, toy_data()["test"][0], dtype)
        assert targets.outputs.dtype == dtype
        assert len(targets) == 3
        torch.testing.assert_close(
            targets.take(rows, queries), outputs[rows][:, queries], rtol=bound, atol=bound
        )
