"""The architecture loss."""

import torch

from weightatlas.objectives.architecture import class_losses


def test_a_sure_and_right_answer_costs_nothing() -> None:
    scores = 50 * torch.eye(3)
    right, wrong = (
        class_losses(scores, torch.tensor([0, 1, 2])),
        class_losses(scores, torch.tensor([1, 2, 0])),
    )
    assert right.max() < 1e-6
    assert wrong.min() > 40
