"""Initializations are recognized at the promised rates, and what training leaves behind is seen."""

import pytest
import torch
from torch import nn

from weightatlas.relate.initializations import Match, candidates, untrained

SHAPE = (48, 64)
MAKERS = {
    "PyTorch default, uniform": lambda w: nn.init.kaiming_uniform_(w, a=5**0.5),
    "Kaiming normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "Xavier uniform": nn.init.xavier_uniform_,
    "Xavier normal": nn.init.xavier_normal_,
    "normal 0.02": lambda w: nn.init.normal_(w, std=0.02),
    "truncated normal 0.02": lambda w: nn.init.trunc_normal_(w, std=0.02, a=-0.04, b=0.04),
}


@pytest.mark.parametrize("name", MAKERS)
def test_fresh_weights_are_recognized_by_name(name):
    values = torch.stack([MAKERS[name](torch.empty(SHAPE)) for _ in range(100)])
    found = untrained(values, candidates(SHAPE))
    assert len(found) >= 88  # four tests at 1 %
    assert sum(name in match.fits for match in found) >= 88


def shifted(values):
    return values + 0.05


def one_direction(values):
    return values + 0.05 * torch.randn(100, 48, 1) * torch.randn(100, 1, 64)


def stretched(values):
    return values * 1.3


def heavy_tails(values):
    return values * (1 + (torch.rand_like(values) < 0.05) * 3)


@pytest.mark.parametrize("change", [shifted, one_direction, stretched, heavy_tails])
def test_what_training_does_is_seen(change):
    values = torch.randn(100, *SHAPE) * (2 / 64) ** 0.5
    known = [one for one in candidates(SHAPE) if one.name == "Kaiming normal"]
    assert len(untrained(values, known)) >= 88
    assert len(untrained(change(values), known)) <= 2


def test_small_tensors_are_not_judged():
    assert untrained(torch.randn(5, 9, 10), candidates((9, 10))) == []
    assert untrained(torch.zeros(0, 48, 64), candidates(SHAPE)) == []


def test_a_bound_that_held_is_strong_and_a_small_bell_is_not():
    uniform, normal = candidates(SHAPE)[0], candidates(SHAPE)[5]
    assert Match(0, uniform, 0.0, 1.0, 200).strong
    assert not Match(0, normal, 0.0, 1.0, 200).strong
    assert Match(0, normal, 0.0, 1.0, 20_000).strong
