"""Soft accuracy follows accuracy and forgets the size of logits."""

import torch

from weightatlas.objectives.performance import accuracy_gap, soft_accuracy


def test_soft_accuracy_orders_networks_as_accuracy_does_whatever_the_size_of_logits() -> None:
    answers = torch.randint(0, 4, (200,))
    logits = torch.randn(6, 200, 4)
    for row in range(6):
        logits[row, torch.arange(200), answers] += 0.6 * row
    hard = (logits.argmax(2) == answers).float().mean(1)
    soft = soft_accuracy(logits, answers)
    assert torch.equal(hard.argsort(), soft.argsort())
    assert (hard - soft).abs().max() < 0.12
    torch.testing.assert_close(soft_accuracy(0.01 * logits, answers), soft)


def test_the_gap_is_zero_for_equals_and_gives_targets_no_gradient() -> None:
    answers = torch.randint(0, 4, (50,))
    outputs, targets = (torch.randn(2, 50, 4, requires_grad=True) for _ in range(2))
    assert accuracy_gap(outputs, 3 * outputs, answers).abs().max() < 1e-6
    accuracy_gap(outputs, targets, answers).sum().backward()
    assert outputs.grad is not None
    assert outputs.grad.abs().max() > 0
    assert targets.grad is None
