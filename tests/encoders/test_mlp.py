"""The perceptron sees neuron order, works on one layout, and has the published size."""

import torch

from tests.encoders import small
from weightatlas.encoders.heads import PropertyHead
from weightatlas.encoders.io import create_encoder
from weightatlas.networks import create_network
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import batch_of, weights_of


def test_it_has_the_published_size():
    spec = spec_of(create_network("siren", coordinates=1), (1,))
    assert spec.params == 1153
    encoder = create_encoder("mlp", spec, hidden=(12, 12))
    count = sum(p.numel() for m in (encoder, PropertyHead(12, 1)) for p in m.parameters())
    assert abs(count / 14_000 - 1) < 0.1


@torch.no_grad()
def test_it_standardizes_and_sees_the_order_of_neurons():
    encoder = create_encoder("mlp", small.spec(), hidden=(16, 8)).eval()
    values = small.values(40)
    encoder.adapt(batch_of(100 + 50 * values, small.spec()))
    plain = create_encoder("mlp", small.spec(), hidden=(16, 8)).eval()
    plain.adapt(batch_of(values, small.spec()))
    one = encoder.encode(weights_of(100 + 50 * values, small.spec())).embedding
    torch.testing.assert_close(
        one, plain.encode(weights_of(values, small.spec())).embedding, atol=1e-3, rtol=1e-3
    )
    moved = permute(values, sample(small.spec(), 40), small.spec())
    other = plain.encode(weights_of(moved, small.spec())).embedding
    assert float((other - one).abs().max()) > 0.01
