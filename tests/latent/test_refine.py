"""Refinement lowers the loss on fresh queries, leaves companions alone, and refuses wrong targets."""

import pytest
import torch

from tests.encoders.test_activation import made
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import DataError
from weightatlas.latent.charts import chart_of, free_chart
from weightatlas.latent.refine import RefineConfig, distance, refine
from weightatlas.population.forward import Population
from weightatlas.weights.batch import batch_of, weights_of

FEW = RefineConfig(steps=40, batch=32)


@pytest.mark.parametrize("name", ["pca", "activation"])
def test_refinement_approaches_the_original_on_new_images(name: str) -> None:
    encoder, network, spec, values = made("digits_cnn", count=6, ratio=3.0)
    population = Population(network, spec, engine="vmap")
    coder = encoder if name == "activation" else create_encoder("pca", spec, latent=15)
    coder.adapt(batch_of(values, spec))
    queries, fresh = torch.randn(256, 1, 8, 8), torch.randn(100, 1, 8, 8)
    chart = chart_of(coder, weights_of(values, spec))  # type: ignore[arg-type]
    before = chart.decode(chart.start)
    after = refine(chart, population, population(values, queries), queries, FEW).weights
    expected = population(values, fresh)
    error = [float(distance(population(w, fresh), expected).mean().detach()) for w in (before, after)]
    assert error[1] < 0.9 * error[0]


def test_the_decoder_is_left_as_it_was_and_keeps_no_gradient() -> None:
    _, network, spec, values = made("digits_cnn", count=2)
    coder = create_encoder("sane", spec, latent=4, dim=8, heads=2, layers=1)
    coder.adapt(batch_of(values, spec))
    before = {name: tensor.clone() for name, tensor in coder.state_dict().items()}
    queries = torch.randn(32, 1, 8, 8)
    population = Population(network, spec, engine="vmap")
    chart = chart_of(coder, weights_of(values, spec))  # type: ignore[arg-type]
    found = refine(chart, population, population(values, queries), queries, RefineConfig(steps=2, batch=16))
    assert not torch.equal(found.positions, chart.start)
    assert all(parameter.grad is None for parameter in coder.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in coder.state_dict().items())


def test_networks_do_not_depend_on_companions() -> None:
    _, network, spec, values = made("digits_cnn", count=3)
    population = Population(network, spec, engine="vmap")
    queries = torch.randn(64, 1, 8, 8)
    targets, start = population(values, queries), values + 0.1 * torch.randn_like(values)
    all_ = refine(free_chart(start), population, targets, queries, FEW).weights
    one = refine(free_chart(start[1:2]), population, targets[1:2], queries, FEW).weights
    assert torch.allclose(all_[1:2], one, atol=1e-4)


def test_distances_vanish_on_equal_outputs_only() -> None:
    outputs = torch.randn(2, 5, 3)
    for kind in ("kl", "softmax", "logits"):
        assert distance(outputs, outputs, kind).abs().max() < 1e-6
        assert (distance(outputs, outputs.flip(-1), kind) > 1e-3).all()


def test_wrong_targets_are_refused() -> None:
    _, network, spec, values = made("digits_cnn", count=2)
    with pytest.raises(DataError, match="of 2 networks on 8 queries"):
        refine(free_chart(values), Population(network, spec), torch.zeros(2, 7, 10), torch.zeros(8, 1, 8, 8))
