"""Distillation: zero for equal logits, gradients free of the temperature, none of them to targets."""

import torch
from torch.nn import functional as F

from weightatlas.objectives.distillation import knowledge


def test_equal_logits_cost_nothing() -> None:
    logits = 5 * torch.randn(3, 7, 4)
    assert knowledge(logits, logits).abs().max() < 1e-5


def test_the_gradient_does_not_depend_on_the_temperature_to_first_order() -> None:
    targets = 0.01 * torch.randn(2, 50, 6)
    grads = []
    for temperature in (2.0, 4.0, 8.0):
        outputs = torch.zeros_like(targets, requires_grad=True)
        (grad,) = torch.autograd.grad(knowledge(outputs, targets, temperature=temperature).sum(), outputs)
        grads.append(grad)
    torch.testing.assert_close(grads[0], grads[1], rtol=0.02, atol=1e-7)
    torch.testing.assert_close(grads[1], grads[2], rtol=0.02, atol=1e-7)


def test_it_is_the_loss_of_hinton_written_out() -> None:
    outputs, targets, answers = torch.randn(2, 5, 3), torch.randn(2, 5, 3), torch.tensor([0, 1, 2, 0, 1])
    found = knowledge(outputs, targets, answers, alpha=0.9, temperature=4.0)
    for row in range(2):
        logs, goal = (outputs[row] / 4).log_softmax(1), (targets[row] / 4).softmax(1)
        kl = F.kl_div(logs, goal, reduction="batchmean")
        expected = 0.9 * 16 * kl + 0.1 * F.cross_entropy(outputs[row], answers)
        torch.testing.assert_close(found[row], expected)


def test_targets_get_no_gradient() -> None:
    outputs, targets = torch.randn(2, 5, 3, requires_grad=True), torch.randn(2, 5, 3, requires_grad=True)
    knowledge(outputs, targets, relative=True).sum().backward()
    assert outputs.grad is not None
    assert targets.grad is None


def test_relative_divergence_of_an_even_answer_is_one() -> None:
    targets = torch.randn(3, 20, 4) * torch.tensor([0.1, 1.0, 5.0])[:, None, None]
    found = knowledge(torch.zeros_like(targets), targets, relative=True)
    torch.testing.assert_close(found, torch.ones(3), rtol=1e-4, atol=1e-4)
    plain = knowledge(torch.zeros_like(targets), targets)
    assert plain[2] > 500 * plain[0]
