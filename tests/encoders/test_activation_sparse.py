"""Sparse activation codes: exact if nothing is left out, closer than leading coordinates at equal size."""

from pathlib import Path
from typing import Any

import pytest
import torch

from weightatlas.encoders.activation import Activation
from weightatlas.encoders.activation_sparse import ActivationSparse
from weightatlas.encoders.io import create_encoder, from_pretrained, save_pretrained
from weightatlas.errors import ConfigError
from weightatlas.latent.refine import RefineConfig, distance, refine
from weightatlas.networks import create_network, input_shape_of
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import batch_of, weights_of

Made = tuple[ActivationSparse | Activation, Population, torch.Tensor, torch.Tensor]


# A small residual network for small images: unfolded inputs of the standard one take half a minute.
OPTIONS: dict[str, dict[str, Any]] = {"resnet_small": {"channels_in": 1, "image_size": 8, "widths": (6, 12)}}
SHAPES = {"resnet_small": (1, 8, 8)}


def made(name: str, kind: str = "activation_sparse", count: int = 12, **settings: float) -> Made:
    network, shape = create_network(name, **OPTIONS.get(name, {})), SHAPES.get(name) or input_shape_of(name)
    spec = spec_of(network, shape)
    encoder = create_encoder(kind, spec, seed=0, images=64, **settings)
    assert isinstance(encoder, (ActivationSparse, Activation))
    inputs = torch.randn(64, *shape, generator=torch.Generator().manual_seed(3))
    encoder.bind(network, inputs)
    values = initialize(spec, torch.arange(count), ["kaiming_normal"] * count)
    encoder.adapt(batch_of(values, spec))
    return encoder, Population(network, spec, engine="vmap"), values, inputs


def errors(name: str, kind: str, ratio: float) -> float:
    encoder, population, values, inputs = made(name, kind, ratio=ratio)
    rebuilt = encoder.reconstruct(weights_of(values, population.spec))
    return float((population(rebuilt, inputs) - population(values, inputs)).square().mean())


@pytest.mark.parametrize("name", ["digits_cnn", "mlp", "resnet_small"])
def test_at_equal_size_the_largest_coordinates_beat_the_leading_ones(name: str) -> None:
    assert errors(name, "activation_sparse", 1.8) < 0.7 * errors(name, "activation", 1.8)


def test_codes_hold_as_many_numbers_and_marks_as_they_say() -> None:
    encoder, population, values, _ = made("digits_cnn", ratio=1.8)
    codes = encoder.encode(weights_of(values, population.spec)).codes
    spec = population.spec
    assert encoder.code_shape(spec) == codes.shape[1:] == (1, 2758)
    assert encoder.code_numbers(spec) == int(2758 / 1.8)
    assert ((codes != 0).sum((1, 2)) + 87 <= encoder.code_numbers(spec)).all()
    assert ((codes != 0).sum((1, 2)) + 87 > 0.98 * encoder.code_numbers(spec)).all()


def test_refinement_moves_the_last_layer_within_the_marks() -> None:
    encoder, population, values, inputs = made("digits_cnn", ratio=3.0)
    spec = population.spec
    weights = weights_of(values, spec)
    codes = encoder.encode(weights).codes
    chart = encoder.chart(codes, spec)
    assert torch.allclose(chart.decode(chart.start), encoder.decode(codes, spec).weights, atol=1e-4)
    assert chart.numbers == encoder.code_numbers(spec)
    targets = population(values, inputs)
    found = refine(chart, population, targets, inputs, RefineConfig(steps=20, batch=64))
    before = distance(population(chart.decode(chart.start), inputs), targets)
    assert (distance(population(found.weights, inputs), targets) < before).all()
    # What came out is a code again: its numbers in the old places, zeros where there were zeros.
    assert isinstance(encoder, ActivationSparse)
    last = encoder.whole.places()[-1]
    moved = codes.clone()
    moved[:, 0, last] = torch.where(codes[:, 0, last] != 0, found.positions, 0.0)
    assert torch.allclose(encoder.decode(moved, spec).weights, found.weights, atol=1e-4)
    assert not torch.allclose(moved, codes, atol=1e-3)


def test_saved_encoders_come_back_with_what_they_keep(tmp_path: Path) -> None:
    encoder, population, values, _ = made("mlp", ratio=2.0)
    save_pretrained(encoder, tmp_path)
    again = from_pretrained(tmp_path)
    assert isinstance(again, ActivationSparse)
    again.bind(create_network("mlp"))
    weights = weights_of(values, population.spec)
    assert torch.equal(again.encode(weights).codes, encoder.encode(weights).codes)


def test_a_ratio_that_does_not_pay_for_the_marks_is_refused() -> None:
    network = create_network("mlp")
    with pytest.raises(ConfigError, match="do not pay"):
        create_encoder("activation_sparse", spec_of(network, input_shape_of("mlp")), ratio=40.0, images=8)
