"""The implicit autoencoder: functions of coordinates, no weights."""

import pytest
import torch
from torch import nn

from tests.encoders import small
from weightatlas.encoders.implicit import Implicit
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import SpecError
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import batch_of, weights_of


def adapted() -> Implicit:
    encoder = create_encoder("implicit", small.spec(), 0, dim=8, rows=8, width=16)
    assert isinstance(encoder, Implicit)
    encoder.adapt(batch_of(small.values(12), small.spec()))
    return encoder.eval()


def test_it_answers_for_points_alike_alone_and_together():
    encoder = adapted()
    codes = encoder.encode(weights_of(small.values(3), small.spec())).codes
    points = small.queries(10)
    together = encoder.outputs(codes, small.spec(), points)
    assert together.shape == (3, 10, small.CLASSES)
    alone = encoder.outputs(codes[1:2], small.spec(), points[4:5])
    torch.testing.assert_close(together[1:2, 4:5], alone)


def test_every_weight_and_bias_of_hidden_neurons_is_read():
    encoder = adapted()
    values = small.values(2).requires_grad_()
    encoder.encode(weights_of(values, small.spec())).codes.square().sum().backward()
    assert values.grad is not None
    unread = (values.grad == 0).all(0)
    last = torch.zeros(small.spec().params, dtype=torch.bool)
    last[small.spec().slices["4.bias"]] = True
    assert torch.equal(unread & last, last)
    assert not bool((unread & ~last).all())


def test_it_has_no_weights_to_give():
    encoder = adapted()
    assert not encoder.decodes_weights
    codes = encoder.encode(weights_of(small.values(3), small.spec())).codes
    with pytest.raises(SpecError, match="functions of coordinates"):
        encoder.decode(codes, small.spec())
    flat = spec_of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 2)), (1, 3, 3))
    with pytest.raises(SpecError, match="reads perceptrons"):
        create_encoder("implicit", flat, 0)
