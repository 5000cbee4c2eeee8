"""Sizes are counted in full and errors stay within what the size allows."""

import math
from itertools import pairwise

import pytest
import torch

from tests.evaluate.small import SPEC, networks
from weightatlas.errors import ConfigError, DataError
from weightatlas.evaluate.compression import (
    fit_ranges,
    half,
    integers,
    mean_network,
    nearest_network,
    prune,
    quantize_codes,
)
from weightatlas.evaluate.pca import neurons, pca


def test_half_precision() -> None:
    values = networks(4)
    values[0, 0] = 1e6
    stored = half(values)
    assert stored.bits == 16 * 51
    assert stored.bits_per_parameter == 16
    assert torch.isfinite(stored.weights).all()
    torch.testing.assert_close(stored.weights[1:], values[1:], rtol=2**-10, atol=1e-6)


def test_int8_error_is_within_half_a_step() -> None:
    values = networks(5)
    stored = integers(values, SPEC, 8)
    channels = values[:, :24].reshape(5, 6, 4)
    error = (stored.weights[:, :24] - values[:, :24]).reshape(5, 6, 4).square().sum(2).sqrt()
    # bf16 scales are rounded by up to 1 in 256, which can shorten the range of 127 steps by half a step.
    bound = channels.abs().amax(2) / 127 * 4**0.5
    assert (error <= bound).all()
    assert error.max() > 0
    torch.testing.assert_close(stored.weights[:, 24:30], half(values).weights[:, 24:30])


def test_integer_sizes_count_scales_and_biases() -> None:
    for bits in (2, 4, 8):
        assert integers(networks(1), SPEC, bits).bits == 42 * bits + 9 * 16 + 9 * 16


def test_fewer_bits_err_more() -> None:
    values = networks(20)
    errors = [(integers(values, SPEC, bits).weights - values).square().mean() for bits in (2, 3, 4, 6, 8)]
    assert all(a > 2 * b for a, b in pairwise(errors))
    assert errors[0] < 0.25 * values.var()


def test_a_channel_of_zeros_stays_zero() -> None:
    values = networks(2)
    values[:, :4] = 0
    for bits in (3, 8):
        assert (integers(values, SPEC, bits).weights[:, :4] == 0).all()
    assert integers(values, SPEC, 2).weights[:, :4].abs().max() < 1e-20


def test_networks_do_not_influence_each_other() -> None:
    values = networks(6)
    alone = integers(values[2:3], SPEC, 4).weights
    assert torch.equal(integers(values, SPEC, 4).weights[2:3], alone)


def test_pruning_keeps_the_largest_and_counts_positions() -> None:
    values = networks(3)
    stored = prune(values, 0.2, SPEC)
    kept = round(0.2 * 51)
    assert ((stored.weights != 0).sum(1) == kept).all()
    smallest = torch.where(stored.weights != 0, values.abs(), torch.inf).amin(1)
    dropped = torch.where(stored.weights == 0, values.abs(), -torch.inf).amax(1)
    assert (smallest >= dropped).all()
    assert stored.bits == pytest.approx(kept * 16 + math.log2(math.comb(51, kept)))
    assert stored.bits < kept * 16 + 34  # a bitmap would take 51 bits, ten indices 60
    assert prune(values, 0.04, SPEC).bits == pytest.approx(2 * 16 + math.log2(51 * 50 / 2))
    assert prune(values, 1.0, SPEC).bits == 51 * 16


def test_mean_and_nearest_cost_no_more_than_an_index() -> None:
    train, values = networks(16, seed=1), networks(5)
    mean = mean_network(train, 5)
    assert mean.bits == 0
    torch.testing.assert_close(mean.weights, train.mean(0).expand(5, -1))
    near = nearest_network(values, train)
    assert near.bits == math.log2(16)
    assert near.fixed == 16 * 51 * 32
    assert torch.equal(nearest_network(train[3:5], train).weights, train[3:5])


def test_codes_of_more_bits_err_less() -> None:
    train, codes = torch.randn(500, 4, 3) * 3 + 1, torch.randn(2000, 4, 3) * 3 + 1
    ranges = fit_ranges(train)
    errors = []
    for bits in (2, 3, 4, 5, 6, 8, 16, 32):
        rounded, size, _ = quantize_codes(codes, bits, ranges)
        assert size == bits * 12
        errors.append(float((rounded - codes).square().mean()))
    assert all(a > b for a, b in pairwise(errors))
    assert errors[-1] == 0
    assert errors[2] < 9 * 0.0130  # the best uniform quantizer of a Gaussian at 4 bits: 0.01154 (Max, 1960)


def test_ranges_know_training_codes_only() -> None:
    ranges = fit_ranges(torch.randn(100, 2, 2))
    far, _, _ = quantize_codes(torch.full((1, 2, 2), 1e6), 4, ranges)
    assert far.abs().max() < 10
    with pytest.raises(ConfigError, match="not fitted for 7 bits"):
        quantize_codes(torch.zeros(1, 2, 2), 7, ranges)
    with pytest.raises(DataError, match="at least 2"):
        fit_ranges(torch.zeros(1, 2, 2))


def test_neurons_cover_every_parameter_once() -> None:
    rows = neurons(SPEC)
    assert [tuple(index.shape) for index in rows] == [(6, 5), (3, 7)]
    assert sorted(torch.cat([index.flatten() for index in rows]).tolist()) == list(range(51))
    assert rows[0][1].tolist() == [4, 5, 6, 7, 25]


@pytest.mark.parametrize("over", ["tokens", "networks"])
def test_pca_with_all_numbers_is_exact_and_with_few_is_not(over: str) -> None:
    train, values = networks(80, seed=1), networks(6)
    full = pca(values, train, SPEC, numbers=51, over=over, bits=32)
    torch.testing.assert_close(full.weights, values, atol=1e-4, rtol=1e-4)
    assert full.bits == 51 * 32
    errors = [(pca(values, train, SPEC, n, over, 32).weights - values).square().mean() for n in (1, 3, 5)]
    assert errors[0] > errors[1] > errors[2] > 1e-6
    assert full.fixed > 0


def test_pca_sizes() -> None:
    train, values = networks(80, seed=1), networks(6)
    assert pca(values, train, SPEC, 2, "tokens", 4).bits == 9 * 2 * 4
    assert pca(values, train, SPEC, 10, "networks", 16).bits == 10 * 16
    # numbers beyond a token's own width are never counted
    assert pca(values, train, SPEC, 6, "tokens", 16).bits == (6 * 5 + 3 * 6) * 16


def test_pca_finds_a_subspace() -> None:
    """Networks that live on a line in every layer are rebuilt from one number a layer."""
    direction, mean = torch.randn(51), torch.randn(51)
    train = mean + torch.randn(40, 1) * direction
    values = mean + torch.randn(5, 1) * direction
    torch.testing.assert_close(
        pca(values, train, SPEC, 2, "networks", 32).weights, values, atol=1e-4, rtol=1e-4
    )


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="choose 2 to 8"):
        integers(networks(1), SPEC, 1)
    with pytest.raises(ConfigError, match="above 0"):
        prune(networks(1), 0.0)
    with pytest.raises(DataError, match="PCA needs"):
        pca(networks(1), networks(1), SPEC, 3)
