"""Residual blocks: found where two branches of one origin are added, and nowhere else."""

import pytest
import torch
from torch import nn

from tests.weights.architectures import build
from weightatlas.networks import create_network
from weightatlas.weights.branches import residual_blocks
from weightatlas.weights.trace import trace


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("residual", ((2, 7),)),
        ("cnn_flatten", ()),
        ("concat", ()),
        ("attention", ((3, 5), (6, 8))),
        ("torch_attention", ((1, 2), (3, 4), (5, 10))),
    ],
)
def test_blocks_by_their_layers(name: str, blocks: tuple[tuple[int, int], ...]):
    network, shape, _ = build(name)
    spec = trace(network, shape)
    found = residual_blocks(spec)
    assert len(found) == len(blocks)
    for (first, last), (low, high) in zip(found, blocks, strict=True):
        assert low <= first <= last <= high


def test_every_block_of_a_resnet_counts():
    spec = trace(create_network("resnet_small"), (3, 32, 32))
    found = residual_blocks(spec)
    assert len(found) == 3
    assert all(first < last for first, last in found)
    assert [first for first, _ in found] == sorted(first for first, _ in found)


def test_biases_and_positions_are_no_branch():
    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.position = nn.Linear(3, 3), nn.Parameter(torch.zeros(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x) + self.position

    assert residual_blocks(trace(Added(), (3,))) == ()
