"""Code numbers go where they save most, and never over budget."""

import torch

from weightatlas.encoders.ranks import CodedLayer, even_ranks, share_ranks

LAYERS = (
    CodedLayer("a", "", (4, 10), 4, 10),
    CodedLayer("b", "", (2, 6), 2, 6),
)


def spent(ranks: list[int]) -> int:
    return sum(layer.rows * rank for layer, rank in zip(LAYERS, ranks, strict=True))


def test_even_ranks_stay_within_the_budget_and_the_layer() -> None:
    assert even_ranks(LAYERS, 20) == [3, 3]
    assert even_ranks(LAYERS, 48) == [9, 6]
    assert even_ranks(LAYERS, 1000) == [10, 6]


def test_numbers_follow_the_energy() -> None:
    flat, steep = torch.full((10,), 0.1), torch.tensor([1.0, 0, 0, 0, 0, 0])
    ranks = share_ranks(LAYERS, [flat, steep], 30)
    assert spent(ranks) <= 30
    assert ranks[0] > ranks[1]
    other = share_ranks(LAYERS, [torch.tensor([1.0] + 9 * [0.0]), torch.full((6,), 1 / 6)], 30)
    assert other[1] == 6
    assert other[0] < ranks[0]
