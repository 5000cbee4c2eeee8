"""Networks fitted side by side come out as they would alone."""

import torch

from weightatlas.networks import create_network
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.population.signals import fit_signals
from weightatlas.symmetry.verify import spec_of
from weightatlas.tasks.signals import SineConfig, sines


def test_fitting_works_and_companions_do_not_matter():
    network = create_network("siren", coordinates=1, hidden=[8, 8])
    spec, keys = spec_of(network, (1,)), torch.tensor([3, 4])
    signals, start = sines(keys, SineConfig(points=16, high=2.0)), initialize(spec, keys, "siren")
    population = Population(network, spec, engine="vmap")
    steps: list[int] = []
    given = population, start, signals.inputs, signals.targets
    values, errors = fit_signals(*given, steps=60, lr=1e-2, on_step=steps.append)
    first = (population.outputs_no_grad(start, signals.inputs) - signals.targets).square().mean((1, 2))
    assert bool((errors < 0.1 * first).all())
    assert steps == list(range(1, 61))
    alone, _ = fit_signals(population, start[1:], signals.inputs, signals.targets[1:], steps=60, lr=1e-2)
    torch.testing.assert_close(values[1:], alone, rtol=1e-3, atol=1e-4)


def test_some_places_a_step_and_errors_that_count_near_zero():
    network = create_network("siren", coordinates=1, hidden=[8, 8])
    spec, keys = spec_of(network, (1,)), torch.tensor([3, 4])
    signals, start = sines(keys, SineConfig(points=64, high=2.0)), initialize(spec, keys, "siren")
    population = Population(network, spec, engine="vmap")
    given = population, start, signals.inputs, signals.targets
    few = {"steps": 40, "lr": 1e-2, "batch": 16}
    values, errors = fit_signals(*given, **few)
    first = (population.outputs_no_grad(start, signals.inputs) - signals.targets).square().mean((1, 2))
    assert bool((errors < 0.5 * first).all())
    alone, _ = fit_signals(population, start[1:], signals.inputs, signals.targets[1:], **few)
    torch.testing.assert_close(values[1:], alone, rtol=1e-3, atol=1e-4)
    focused, _ = fit_signals(*given, focus=0.1, **few)
    near = signals.targets.abs() < 0.1
    wrong = [
        (population.outputs_no_grad(v, signals.inputs) - signals.targets).abs() for v in (values, focused)
    ]
    assert float(wrong[1][near].mean()) < float(wrong[0][near].mean())
