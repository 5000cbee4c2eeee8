"""Learned probes: functions are seen, neuron order is not; inputs are trained; several architectures."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from tests.encoders import small
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.probes import Probes
from weightatlas.errors import ConfigError, NoCode, SpecError
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Batch, Weights, batch_of, weights_of

TINY: dict[str, Any] = {"probes": 6, "hidden": (16, 8)}


def made(generator: str = "free") -> Probes:
    encoder = create_encoder("probes", small.spec(), seed=2, generator=generator, **TINY)
    assert isinstance(encoder, Probes)
    encoder.bind(small.network(), small.queries())
    return encoder


def test_permuted_networks_answer_alike_and_wrongly_permuted_ones_do_not():
    encoder = made().double().eval()
    values = small.values(5).double()
    moved = permute(values, sample(small.spec(), 5), small.spec())
    wrong = values.clone()
    wrong[:, :24] = values[:, :24].reshape(5, 6, 4).roll(1, 1).reshape(5, 24)
    here, there, other = (
        encoder.encode(weights_of(v, small.spec())).embedding.detach() for v in (values, moved, wrong)
    )
    assert float((here - there).abs().max()) < 1e-9
    assert float((here - other).abs().max()) > 1e-4


@pytest.mark.parametrize("generator", ["free", "linear"])
def test_probes_are_trained(generator: str):
    encoder = made(generator=generator)
    encoder.adapt(batch_of(small.values(12), small.spec()))
    before = encoder.probes().detach().clone()
    optimizer = torch.optim.Adam(encoder.parameters(), 1e-2)
    (encoder.encode(weights_of(small.values(8), small.spec())).embedding - 1).square().sum().backward()
    assert encoder.inputs.grad is not None
    assert bool((encoder.inputs.grad != 0).any())
    optimizer.step()
    assert float((encoder.probes().detach() - before).abs().max()) > 1e-3


def test_probes_start_at_inputs_once():
    encoder = made()
    assert torch.equal(encoder.probes()[0], small.queries()[0])
    encoder.bind(small.network(), small.queries() + 1)
    assert torch.equal(encoder.probes()[0], small.queries()[0])


def test_architectures_with_the_same_inputs_and_outputs_mix():
    other = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))
    spec = spec_of(other, (4,))
    encoder = made().eval()
    groups = (
        weights_of(small.values(2), small.spec()),
        Weights(torch.randn(2, spec.params), spec, torch.tensor([2, 3])),
    )
    with pytest.raises(NoCode, match="no code was bound"):
        encoder.embed(Batch(groups))
    encoder.bind(other)
    mixed = encoder.embed(Batch(groups))
    with torch.no_grad():
        torch.testing.assert_close(mixed[2:], encoder.encode(groups[1]).embedding)
    wide = spec_of(nn.Linear(5, 3), (5,))
    with pytest.raises(SpecError, match="made for inputs"):
        encoder.embed(batch_of(torch.randn(1, wide.params), wide))


def test_a_copy_shares_the_code():
    encoder = made().eval()
    weights = weights_of(small.values(2), small.spec())
    assert torch.equal(deepcopy(encoder).encode(weights).embedding, encoder.encode(weights).embedding)


def test_probes_stand_beside_any_encoder():
    both = create_encoder("probed", small.spec(), encoder="mlp", settings={"hidden": (5,)}, probes=TINY)
    both.bind(small.network(), small.queries())
    both.adapt(batch_of(small.values(12), small.spec()))
    assert both.encode(weights_of(small.values(3), small.spec())).embedding.shape == (3, 5 + 8)
    with pytest.raises(ConfigError, match="has probes already"):
        create_encoder("probed", small.spec(), encoder="probes")
    with pytest.raises(ConfigError, match="hiden"):
        create_encoder("probed", small.spec(), encoder="mlp", settings={"hiden": (5,)})
