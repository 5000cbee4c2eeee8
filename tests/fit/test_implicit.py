"""Training the implicit autoencoder makes it answer like the originals, the same way twice."""

import pytest
import torch

from weightatlas.encoders.implicit import Implicit
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError
from weightatlas.fit.implicit import ImplicitFit, fit_implicit
from weightatlas.networks import create_network
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import weights_of

NETWORK = create_network("siren", coordinates=2, hidden=[6])
SPEC = spec_of(NETWORK, (2,))


def trained(steps: int) -> tuple[Implicit, list[float], torch.Tensor]:
    start = initialize(SPEC, torch.zeros(1, dtype=torch.int64), "siren")
    values = start + 0.05 * torch.randn(20, SPEC.params, generator=torch.Generator().manual_seed(1))
    encoder = create_encoder("implicit", SPEC, 0, dim=8, rows=16, width=32)
    assert isinstance(encoder, Implicit)
    points = torch.rand(200, 2, generator=torch.Generator().manual_seed(2)) * 2 - 1
    config = ImplicitFit(steps=steps, batch=10, points=64, lr=5e-3, loss="signal")
    losses = fit_implicit(encoder, values, SPEC, Population(NETWORK, SPEC, "vmap"), points, config)
    return encoder, losses, values


def test_it_learns_and_repeats():
    encoder, losses, values = trained(60)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert not encoder.training
    again = trained(60)[0]
    weights = weights_of(values, SPEC)
    assert torch.equal(encoder.encode(weights).codes, again.encode(weights).codes)


def test_unknown_losses_are_refused():
    with pytest.raises(ConfigError, match="loss"):
        ImplicitFit.build({"loss": "nothing"})
