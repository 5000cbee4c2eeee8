"""Row-wise optimizers equal torch.optim, each row with its own settings."""

from typing import Any

import pytest
import torch

from weightatlas.population.optimizers import optimizers

RUNS = [(0.1, 0.0, 0.0), (0.03, 0.01, 0.9), (0.01, 0.1, 0.5)]  # lr, weight decay, momentum
PLAIN: dict[str, tuple[Any, bool]] = {
    "sgd": (torch.optim.SGD, True),
    "adam": (torch.optim.Adam, False),
    "adamw": (torch.optim.AdamW, False),
    "rmsprop": (lambda p, **k: torch.optim.RMSprop(p, alpha=0.99, **k), True),
}


@pytest.mark.parametrize("name", optimizers.names())
def test_equals_torch(name: str) -> None:
    start = torch.randn(3, 11, dtype=torch.float64)
    columns = [torch.tensor(c, dtype=torch.float64)[:, None] for c in zip(*RUNS, strict=True)]
    weights = start.clone()
    ours = optimizers.get(name)(weights, *columns, None)
    make, moves = PLAIN[name]
    plain = [row.clone().requires_grad_() for row in start]
    theirs = [
        make([row], lr=lr, weight_decay=decay, **({"momentum": momentum} if moves else {}))
        for row, (lr, decay, momentum) in zip(plain, RUNS, strict=True)
    ]
    for _ in range(20):
        for row, optimizer in zip(plain, theirs, strict=True):
            optimizer.zero_grad()
            (row.sin() * torch.arange(11)).sum().backward()
            optimizer.step()
        ours.step(weights.cos() * torch.arange(11))
    torch.testing.assert_close(weights, torch.stack(plain).detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", optimizers.names())
def test_only_active_rows_and_trainable_numbers_move(name: str) -> None:
    weights = torch.ones(3, 4)
    column = torch.full((3, 1), 0.1)
    trainable = torch.tensor([True, False, True, True])
    optimizers.get(name)(weights, column, column, column, trainable).step(torch.ones(2, 4))
    assert (weights[2] == 1).all()
    assert (weights[:, 1] == 1).all()
    assert (weights[:2, [0, 2, 3]] != 1).all()
