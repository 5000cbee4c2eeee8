"""Activation codes in few bits: sizes are kept, more bits are better, no size is chosen on test networks."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from weightatlas.encoders.activation import Activation, ActivationConfig
from weightatlas.evaluate.protocols.sizes import rounded_sizes
from weightatlas.networks import create_network, input_shape_of
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import weights_of

NETWORK = create_network("digits_cnn")
SPEC = spec_of(NETWORK, input_shape_of("digits_cnn"))
IMAGES = torch.randn(96, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def made(first: int, count: int) -> torch.Tensor:
    return initialize(SPEC, torch.arange(first, first + count), ["kaiming_normal"] * count)


@pytest.fixture(scope="module")
def stage() -> Any:
    parts = {"train_values": made(0, 24), "val_values": made(100, 6)}
    population = Population(NETWORK, SPEC, engine="vmap")
    return SimpleNamespace(spec=SPEC, population=population, pool=SimpleNamespace(inputs=IMAGES), **parts)


def encoder(ratio: float) -> Activation:
    found = Activation(ActivationConfig(ratio=ratio, images=96), SPEC)
    found.bind(NETWORK, IMAGES)
    return found


def test_sizes_are_kept_and_more_bits_are_better(stage: Any) -> None:
    tests = weights_of(made(200, 5), SPEC)
    found = list(rounded_sizes(stage, tests, [encoder(1.0)], "ours", (6.0, 3.0, 1.0)))
    assert [round(item.bits_per_parameter, 1) for item in found] == [6.0, 3.0, 1.0]
    assert all(item.bits_per_parameter <= size for item, size in zip(found, (6, 3, 1), strict=True))
    expected = stage.population.outputs_no_grad(tests.values, IMAGES)
    rebuilt = [stage.population.outputs_no_grad(item.weights, IMAGES) for item in found]
    errors = [float((outputs - expected).square().mean()) for outputs in rebuilt]
    assert errors[0] < 0.5 * errors[1] < 0.25 * errors[2]
    assert found[0].fixed > 96 * 64 * 32  # the shared images count


def test_each_size_takes_the_better_ratio(stage: Any) -> None:
    tests = weights_of(made(200, 3), SPEC)
    good, poor = encoder(1.0), encoder(12.0)
    alone = list(rounded_sizes(stage, tests, [good], "ours", (5.0,)))
    both = list(rounded_sizes(stage, tests, [poor, good], "ours", (5.0,)))
    assert torch.equal(both[0].weights, alone[0].weights)


def test_sizes_no_encoder_can_use_are_left_out(stage: Any) -> None:
    tests = weights_of(made(200, 2), SPEC)
    found = list(rounded_sizes(stage, tests, [encoder(6.0)], "ours", (4.0, 1.0)))
    assert [item.name for item in found] == ["ours, 1 bits per parameter"]
