"""StatNN: layer statistics of one list of layers, any widths, invariant, of the published size."""

import pytest
import torch
from torch import nn

from tests.encoders import small
from weightatlas.encoders.heads import PropertyHead
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import SpecError
from weightatlas.networks import create_network
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import batch_of, weights_of


def test_it_has_the_published_size():
    spec = spec_of(create_network("siren", coordinates=1), (1,))
    encoder = create_encoder("stat_nn", spec)
    count = sum(p.numel() for m in (encoder, PropertyHead(128, 1)) for p in m.parameters())
    assert abs(count / 44_000 - 1) < 0.1


def test_it_ignores_permutations_and_takes_other_widths():
    encoder = create_encoder("stat_nn", small.spec(), hidden=(16, 8)).eval()
    values = small.values(20)
    encoder.adapt(batch_of(values, small.spec()))
    moved = permute(values, sample(small.spec(), 20), small.spec())
    with torch.no_grad():
        here = encoder.encode(weights_of(values, small.spec())).embedding
        torch.testing.assert_close(encoder.encode(weights_of(moved, small.spec())).embedding, here)
        wider = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 3))
        spec = spec_of(wider, (4,))
        other = encoder.encode(weights_of(torch.randn(2, spec.params), spec)).embedding
    assert other.shape == (2, 8)
    assert float((here[0] - here[1]).abs().max()) > 0


def test_other_lists_of_layers_are_refused():
    encoder = create_encoder("stat_nn", small.spec())
    spec = spec_of(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (4,))
    with pytest.raises(SpecError, match="made for 6 tensors"):
        encoder.embed(batch_of(torch.randn(2, spec.params), spec))
    with pytest.raises(SpecError, match="pass a network's"):
        create_encoder("stat_nn")
