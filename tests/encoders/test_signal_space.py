"""The closed-form space: the best directions by the outputs, exact where codes are large enough."""

import pytest
import torch

from tests.encoders import small
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.signal_space import SignalSpace, derivatives
from weightatlas.errors import NoCode, SpecError
from weightatlas.weights.batch import batch_of, weights_of


def adapted(**settings: float) -> SignalSpace:
    encoder = create_encoder("signal_space", small.spec(), 0, **settings)
    assert isinstance(encoder, SignalSpace)
    encoder.bind(small.network(), small.queries())
    encoder.adapt(batch_of(small.values(60), small.spec()))
    return encoder


def test_derivatives_are_those_of_finite_differences():
    population, value = small.population(), small.values(1)[0]
    points = small.queries(3)
    found = derivatives(population, value, points).view(small.CLASSES, 3, -1)
    step = torch.zeros_like(value)
    step[4] = 1e-3
    outputs = [population(value[None] + sign * step, points)[0] for sign in (1, -1)]
    torch.testing.assert_close(found[:, :, 4].T, (outputs[0] - outputs[1]) / 2e-3, atol=1e-3, rtol=1e-2)


def test_a_code_as_large_as_the_network_loses_nothing():
    encoder = adapted(dim=small.spec().params)
    strangers = torch.randn(4, small.spec().params)
    rebuilt = encoder.reconstruct(weights_of(strangers, small.spec()))
    torch.testing.assert_close(rebuilt, strangers, atol=2e-2, rtol=0)


def test_outputs_are_kept_better_than_by_plain_pca():
    """Where weights that outputs do not feel vary most, plain PCA spends its numbers on them."""
    spec, population = small.spec(), small.population()
    values = small.values(60)
    deaf = torch.zeros(60, spec.params)
    deaf[:, spec.slices["0.bias"]] = 20 + 0.01 * torch.randn(60, 6)  # tanh is flat there
    noisy = values + deaf
    noisy[:, spec.slices["0.weight"]] += 2 * torch.randn(60, 24)
    encoder = create_encoder("signal_space", spec, 0, dim=6, shrink=0.0)
    encoder.bind(small.network(), small.queries())
    encoder.adapt(batch_of(noisy, spec))
    mean = noisy.mean(0)
    axes = torch.linalg.svd(noisy - mean, full_matrices=False)[2][:6]
    plain = mean + (noisy - mean) @ axes.T @ axes
    true = population(noisy, small.queries())
    ours = encoder.reconstruct(weights_of(noisy, spec))  # type: ignore[attr-defined]
    wrong = [(population(found, small.queries()) - true).square().mean() for found in (ours, plain)]
    assert float(wrong[0]) < 0.5 * float(wrong[1])


def test_codes_have_unit_variance_about():
    encoder = adapted(dim=4, shrink=0.0)
    codes = encoder.encode(weights_of(small.values(60), small.spec())).codes[:, 0]
    torch.testing.assert_close(codes.square().mean(0), torch.ones(4), atol=0.05, rtol=0)


def test_what_it_lacks_is_named():
    encoder = create_encoder("signal_space", small.spec(), 0, dim=4)
    with pytest.raises(NoCode, match="no code was bound"):
        encoder.adapt(batch_of(small.values(12), small.spec()))
    with pytest.raises(SpecError, match=r"expected \(1, 4\)"):
        adapted(dim=4).decode(torch.zeros(2, 1, 5), small.spec())
