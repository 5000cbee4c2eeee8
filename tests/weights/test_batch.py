"""Batches keep the caller's order whatever the grouping."""

import pytest
import torch
from torch import nn

from tests.weights.plain_spec import plain_spec
from weightatlas.errors import SpecError
from weightatlas.weights.batch import Batch, Weights, weights_of


def test_join_restores_the_callers_order() -> None:
    small, large = plain_spec(nn.Linear(1, 1)), plain_spec(nn.Linear(2, 1))
    batch = Batch(
        (
            Weights(torch.zeros(2, 2), small, torch.tensor([2, 0])),
            Weights(torch.zeros(1, 3), large, torch.tensor([1])),
        )
    )
    joined = batch.join([torch.tensor([[2.0], [0.0]]), torch.tensor([[1.0]])])
    assert joined.flatten().tolist() == [0.0, 1.0, 2.0]
    assert len(batch) == 3


def test_weights_of_another_size_are_refused() -> None:
    with pytest.raises(SpecError, match=r"\(networks, 2\)"):
        weights_of(torch.zeros(1, 3), plain_spec(nn.Linear(1, 1)))
