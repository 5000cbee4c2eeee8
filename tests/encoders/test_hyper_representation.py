"""Hyper-representations: one global code, layer-wise units, both token kinds."""

import pytest
import torch

from tests.encoders import small
from weightatlas.encoders.hyper_representation import (
    HyperRepresentation,
    HyperRepresentationConfig,
    layer_shares,
)
from weightatlas.errors import ConfigError
from weightatlas.fit import FitConfig, fit
from weightatlas.fit.presets import preset
from weightatlas.objectives.composite import LossConfig, recipe
from weightatlas.objectives.step import Step
from weightatlas.objectives.structural import Structural
from weightatlas.weights.batch import batch_of, weights_of

TINY = {"dim": 16, "layers": 1, "heads": 2, "latent": 6}


def made(**settings: object) -> HyperRepresentation:
    config = HyperRepresentationConfig.build({**TINY, **settings})
    assert isinstance(config, HyperRepresentationConfig)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return HyperRepresentation(config, small.spec())


@pytest.mark.parametrize("settings", [{}, {"tokens": "weight"}, {"compression": "token"}, {"bounded": False}])
def test_one_code_per_network(settings: dict[str, object]) -> None:
    encoder = made(**settings).eval()
    weights = weights_of(small.values(5), small.spec())
    encoded = encoder.encode(weights)
    assert encoded.codes.shape == (5, 1, 6)
    assert torch.equal(encoded.embedding, encoded.codes[:, 0])
    assert encoder.decode(encoded.codes, small.spec()).weights.shape == weights.values.shape
    assert (encoded.codes.abs().max() < 1) or not encoder.config.bounded


def test_a_network_is_coded_without_its_companions() -> None:
    encoder = made(compression="token").eval()
    values = small.values(5)
    alone = encoder.encode(weights_of(values[2:3], small.spec())).codes
    torch.testing.assert_close(encoder.encode(weights_of(values, small.spec())).codes[2:3], alone)


def test_units_are_the_spread_of_each_layer_weights_and_biases_together() -> None:
    encoder, values, spec = made(), small.values(12), small.spec()
    values[:, spec.slices[spec.tensors[0].name]] *= 50
    encoder.adapt(batch_of(values, spec))
    for layer in spec.layers:
        places = [spec.slices[spec.tensors[index].name] for index in layer]
        joined = torch.cat([values[:, place] for place in places], dim=1)
        for place in places:
            torch.testing.assert_close(
                encoder.sigma[place], joined.std(correction=0).expand_as(encoder.sigma[place])
            )
    assert torch.equal(made(normalize="none").scale(spec), torch.ones(spec.params))


def test_layer_mean_weighs_every_layer_alike() -> None:
    spec = small.spec()
    encoder = made(normalize="layer_mean")
    weights = weights_of(torch.zeros(3, spec.params), spec)
    encoded = encoder.encode(weights)
    for layer in spec.layers:
        rebuilt = torch.zeros(3, spec.params)
        for index in layer:
            rebuilt[:, spec.slices[spec.tensors[index].name]] = 1
        step = Step(weights, encoder, encoded, type(encoder.decode(encoded.codes, spec))(rebuilt))
        assert float(Structural()(step)["structural"]) == pytest.approx(1 / len(spec.layers), rel=1e-5)
    assert float((1 / layer_shares(spec).square()).mean()) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("loss", [recipe("C"), recipe("S"), recipe("CS"), recipe("CS", pairs="positive")])
def test_every_published_combination_trains(loss: LossConfig) -> None:
    encoder, values = made(bounded=False), small.values(24)
    encoder.adapt(batch_of(values, small.spec()))
    before = [parameter.detach().clone() for parameter in encoder.parameters()]
    config = FitConfig(steps=12, batch=8, lr=3e-3, loss=loss, validate_every=0)
    result = fit(encoder, batch_of(values, small.spec()), config)
    assert result is not None
    assert any(not torch.equal(a, b) for a, b in zip(before, encoder.parameters(), strict=True))


@pytest.mark.parametrize("name", ["hyper_mnist", "hyper_cifar", "hyper_small"])
def test_presets_are_valid(name: str) -> None:
    chosen = preset(name)
    assert isinstance(HyperRepresentationConfig.build(chosen.settings), HyperRepresentationConfig)


def test_impossible_sizes_are_named() -> None:
    with pytest.raises(ConfigError, match="multiple of heads"):
        made(dim=15)
