"""Norm statistics from unlabelled inputs."""

import torch

from tests.population.small import make, reference, toy_data
from weightatlas.population.initialize import initialize
from weightatlas.population.recalibrate import recalibrate, with_valid_variances


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


def test_variances_below_the_floor_are_raised_and_nothing_else() -> None:
    spec = make("residual")[1]
    weights = initialize(spec, torch.arange(2), "kaiming_normal")
    place = spec.slices["norm.running_var"]
    broken = weights.clone()
    broken[0, place] = -3.0
    raised = with_valid_variances(spec, broken, floor=0.5)
    assert (raised[0, place] == 0.5).all()
    assert (broken[0, place] == -3.0).all()
    assert torch.equal(raised[1], weights[1])
    others = torch.ones(spec.params, dtype=torch.bool)
    others[place] = False
    assert torch.equal(raised[:, others], weights[:, others])
