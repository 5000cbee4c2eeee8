"""Sines: each network's frequency depends on its key alone and lies in the range."""

import math

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.tasks.signals import SineConfig, sines


def test_values_follow_the_frequency():
    signals = sines(torch.arange(200), SineConfig(points=33))
    assert 0.5 <= float(signals.frequency.min()) < 1.0
    assert 9.5 < float(signals.frequency.max()) <= 10.0
    place = torch.linspace(-math.pi, math.pi, 33, dtype=torch.float64)
    expected = torch.sin(signals.frequency[:, None] * place)[..., None].float()
    torch.testing.assert_close(signals.targets, expected, rtol=0, atol=1e-5)


def test_companions_do_not_matter():
    keys = torch.tensor([5, 9, 11])
    assert torch.equal(sines(keys, SineConfig()).targets[1:2], sines(keys[1:2], SineConfig()).targets)


def test_empty_ranges_are_refused():
    with pytest.raises(ConfigError, match="no range"):
        SineConfig.build({"low": 2.0, "high": 1.0})
