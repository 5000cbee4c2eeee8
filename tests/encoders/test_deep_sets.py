"""DeepSets: invariant, blind to wrong permutations inside a tensor, of the published size."""

import pytest
import torch

from tests.encoders.laws import STRUCTURES, changes, mixed_equals_alone, networks
from weightatlas.encoders.heads import PropertyHead
from weightatlas.encoders.io import create_encoder
from weightatlas.weights.batch import weights_of


@pytest.mark.parametrize("structure", STRUCTURES)
def test_embeddings_ignore_permutations_and_wrong_ones_too(structure: str):
    same, wrong = changes(create_encoder("deep_sets", seed=3, width=8, layers=2), structure)
    assert same < 1e-9
    assert wrong < 1e-9  # what DeepSets cannot see, stated
    encoder = create_encoder("deep_sets", seed=3, width=8, layers=2).double()
    spec, values = networks(structure)
    with torch.no_grad():
        here, there = (encoder.encode(weights_of(v, spec)).embedding for v in (values, values * 1.1))
    assert float((here - there).abs().max()) > 1e-4


def test_architectures_mix():
    mixed_equals_alone("deep_sets", width=8, layers=2)


def test_it_has_the_published_size():
    encoder = create_encoder("deep_sets", describe=False)
    count = sum(p.numel() for m in (encoder, PropertyHead(128, 1)) for p in m.parameters())
    assert count == 99_457  # 99K (SNE, INR)
