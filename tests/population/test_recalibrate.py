"""Norm statistics from unlabelled inputs."""

import torch

from tests.population.small import make, reference, toy_data
from weightatlas.population.initialize import initialize
from weightatlas.population.recalibrate import recalibrate


def test_statistics_are_the_average_over_batches() -> None:
    network, spec = make("residual")
    weights = initialize(spec, torch.arange(3), "kaiming_normal")
    place = spec.slices["norm.running_var"]
    weights[:, place] = 1e6
    inputs = toy_data()["train"][0][:64]
    fixed = recalibrate(network, spec, weights, inputs, batch_size=32)
    own = reference(network, spec, weights[1])
    expected = torch.stack([own.stem(b).var(dim=(0, 2, 3)) for b in inputs.split(32)]).mean(dim=0)
    torch.testing.assert_close(fixed[1, place], expected.detach())
    assert (weights[:, place] == 1e6).all()


def test_networks_without_norm_stay_as_they_are() -> None:
    network, spec = make("plain")
    weights = initialize(spec, torch.arange(2), "kaiming_normal")
    assert torch.equal(recalibrate(network, spec, weights, toy_data()["train"][0]), weights)
