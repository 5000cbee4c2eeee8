"""The ceiling by label noise equals a simulation written out, and falls with fewer images."""

import numpy as np
import pytest
import torch

from weightatlas.predict.ceiling import ceiling
from weightatlas.predict.metrics import kendall, r2


def test_it_equals_a_simulation_written_out() -> None:
    accuracy = torch.rand(200, dtype=torch.float64) * 0.2 + 0.7
    taus = []
    for seed in range(30):
        count = np.random.default_rng(seed).binomial(500, accuracy.numpy())
        taus.append(kendall(accuracy, torch.from_numpy(count / 500)))
    assert ceiling([(accuracy, 500, 1.0)]) == pytest.approx(float(np.mean(taus)), abs=0.02)


def test_its_r2_is_what_variances_say() -> None:
    accuracy = torch.rand(2000, dtype=torch.float64) * 0.4 + 0.3
    noise = float((accuracy * (1 - accuracy) / 100).mean())
    expected = 1 - noise / (float(accuracy.var()) + noise)
    assert ceiling([(accuracy, 100, 1.0)], r2) == pytest.approx(expected, abs=0.02)


def test_both_measurements_of_a_gap_are_noisy() -> None:
    train, test = 0.9 + 0.05 * torch.rand(100), 0.8 + 0.05 * torch.rand(100)
    gap = ceiling([(train, 1000, 1.0), (test, 1000, -1.0)])
    assert gap < ceiling([(train, 10**9, 1.0), (test, 1000, -1.0)]) < 1
