"""Assignments are the best ones, with and without threads."""

from itertools import permutations

import torch

from weightatlas.relate import assignment
from weightatlas.relate.assignment import assign


def test_assignments_are_best_with_and_without_threads(monkeypatch):
    gains = torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(0))
    best = [max(permutations(range(5)), key=lambda p, g=g: sum(g[i, p[i]] for i in range(5))) for g in gains]
    assert assign(gains).tolist() == [list(p) for p in best]
    monkeypatch.setattr(assignment, "_LARGE", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert assign(gains).tolist() == [list(p) for p in best]
    assert assign(gains[:0]).shape == (0, 5)
