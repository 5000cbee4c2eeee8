"""Sinusoidal fields: zero is silent, and exchanged values are told apart."""

import torch

from weightatlas.encoders.sinusoids import sinusoids, summed


def test_zero_adds_nothing_and_exchanged_values_differ():
    fields = torch.tensor([[0, 0], [2, 3], [3, 2], [2, 0]])
    found = summed(fields, [4, 5], 16)
    assert torch.equal(found[0], torch.zeros(16))
    assert (found[1] - found[2]).abs().max() > 0.1
    torch.testing.assert_close(
        found[3], sinusoids(torch.tensor(2), 16, 4) - sinusoids(torch.tensor(0), 16, 4)
    )
