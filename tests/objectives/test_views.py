"""Views: the same function in another order; noise and erasing only where the encoder looks."""

import torch

from tests.encoders import small
from weightatlas.objectives import ViewConfig, make_views
from weightatlas.weights.batch import weights_of


def views(**settings: object):
    weights = weights_of(small.values(6), small.spec())
    config = ViewConfig.build(dict(settings))
    return weights, make_views(weights, config, 2, torch.Generator().manual_seed(0))


def test_the_second_view_is_the_same_function_in_another_order():
    weights, made = views()
    first, second = made.clean.values.chunk(2)
    assert torch.equal(first, weights.values)
    assert (first != second).any(1).all()
    population, inputs = small.population(), small.queries()
    torch.testing.assert_close(population(second, inputs), population(first, inputs))


def test_permuting_all_or_none():
    weights, made = views(permute="all")
    assert (made.clean.values[:6] != weights.values).any(1).all()
    weights, made = views(permute="none")
    assert torch.equal(made.clean.values, weights.values.repeat(2, 1))


def test_noise_and_erasing_touch_the_inputs_only():
    weights, made = views(permute="none", noise=0.1)
    ratio = made.inputs.values / made.clean.values
    assert torch.equal(made.clean.values, weights.values.repeat(2, 1))
    assert 0.07 < float(ratio.std()) < 0.13
    weights, made = views(permute="none", erase=0.5, erase_area=(0.2, 0.4))
    erased = (made.inputs.values == 0).float().mean(1)
    assert ((erased == 0) | ((erased > 0.15) & (erased < 0.41))).all()
    assert 0 < int((erased > 0).sum()) < 12
    assert torch.equal(made.clean.values, weights.values.repeat(2, 1))
