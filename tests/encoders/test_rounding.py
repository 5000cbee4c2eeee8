"""Rounding: bits go where they save error, and never more than were asked for."""

from itertools import pairwise

import pytest
import torch

from weightatlas.encoders.rounding import MOST, fit_rounding
from weightatlas.errors import ConfigError, DataError


def codes(count: int = 200, numbers: int = 20) -> torch.Tensor:
    spread = torch.logspace(1, -3, numbers)
    return 3.0 + spread * torch.randn(count, numbers)


@pytest.mark.parametrize("mean_bits", [0.5, 2.0, 3.7, 8.0])
def test_bits_stay_within_the_budget_and_use_it(mean_bits: float) -> None:
    rounding = fit_rounding(codes(), torch.ones(20), mean_bits)
    assert mean_bits * 20 - 2 <= rounding.size <= mean_bits * 20
    assert int(rounding.bits.min()) >= 0
    assert int(rounding.bits.max()) <= MOST


def test_numbers_that_vary_more_get_more_bits_and_the_rest_their_mean() -> None:
    known = codes()
    rounding = fit_rounding(known, torch.ones(20), 1.5)
    assert (rounding.bits.diff() <= 1).all()
    assert int(rounding.bits[0]) > int(rounding.bits[6]) > 0
    silent = rounding.bits == 0
    assert silent.any()
    assert torch.allclose(rounding.apply(known)[:, silent], known.mean(0)[silent].expand(200, -1))


def test_units_decide_what_an_error_counts() -> None:
    known = torch.randn(200, 2)
    bits = fit_rounding(known, torch.tensor([1.0, 16.0]), 4.0).bits
    assert bits.tolist() == [6, 2]


def test_errors_of_new_codes_shrink_with_every_bit() -> None:
    fitted, new = codes(), codes()
    errors = []
    for bits in (3.0, 4.0, 5.0, 6.0):
        rounded = fit_rounding(fitted, torch.ones(20), bits).apply(new)
        errors.append(float((rounded - new).square().mean()))
    assert all(1.5 * after < before for before, after in pairwise(errors))
    # The same bits for all numbers, whatever their spread, are worse.
    even = torch.full((20,), 5.0)
    span = 4 * fitted.std(0).max()
    step = 2 * span / 2**even
    plain = ((new - 3) / step).floor().clamp(-16, 15).add(0.5) * step + 3
    assert errors[2] < 0.3 * float((plain - new).square().mean())


def test_levels_are_as_many_as_the_bits_can_tell_apart() -> None:
    known = codes()
    rounding = fit_rounding(known, torch.ones(20), 2.5)
    rounded = rounding.apply(100 * (codes(4000) - 3) + 3)
    for number, bits in enumerate(rounding.bits.tolist()):
        assert len(rounded[:, number].unique()) <= 2**bits
    assert torch.allclose(rounding.apply(rounded), rounded, atol=1e-4)


def test_parts_of_codes_round_like_the_whole() -> None:
    known = codes()
    rounding = fit_rounding(known, torch.ones(20), 3.0)
    assert torch.equal(rounding.apply(known[:, 4:9], slice(4, 9)), rounding.apply(known)[:, 4:9])


def test_what_is_always_positive_stays_positive() -> None:
    variances = torch.rand(200, 1).square() + 1e-3
    assert fit_rounding(variances, torch.ones(1), 1.0).apply(torch.zeros(1, 1)).min() > 0


def test_impossible_requests_are_named() -> None:
    with pytest.raises(ConfigError, match="up to 12 bits"):
        fit_rounding(codes(), torch.ones(20), 13.0)
    with pytest.raises(DataError, match="at least 2 training networks"):
        fit_rounding(codes(1), torch.ones(20), 3.0)
