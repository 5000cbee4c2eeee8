"""Set attention equals its formulas; scalars take the same path; masked items are never seen."""

import pytest
import torch
from torch import Tensor

from weightatlas.encoders.set_blocks import SetAttention, SetEncoder, SetPooling
from weightatlas.errors import ConfigError


def heads(x: Tensor, count: int) -> Tensor:
    return x.view(*x.shape[:2], count, -1).transpose(1, 2)


def written_out(q: Tensor, k: Tensor, v: Tensor, count: int) -> Tensor:
    """Multihead attention with the full width's scale."""
    scores = heads(q, count) @ heads(k, count).transpose(-1, -2) / q.shape[2] ** 0.5
    return (scores.softmax(-1) @ heads(v, count)).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("width", [1, 8])
def test_attention_is_the_written_out_formula(width: int):
    block, x = SetAttention(8, 2, width).double(), torch.randn(3, 5, width).double()
    out = block.query(x) + written_out(block.query(x), block.key(x), block.value(x), 2)
    torch.testing.assert_close(block(x), out + torch.relu(block.mix(out)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seeds", [1, 3])
def test_pooling_is_the_written_out_formula(seeds: int):
    pool, x = SetPooling(8, 2, seeds).double(), torch.randn(4, 5, 8).double()
    query = pool.query(pool.seeds).expand(4, -1, -1)
    out = query + written_out(query, pool.key(x), pool.value(x), 2)
    expected = (out + torch.relu(pool.mix(out))).flatten(1)
    torch.testing.assert_close(pool(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("width", [1, 8])
def test_masked_items_change_nothing(width: int):
    encoder, x = SetEncoder(8, 2, width_in=width).double(), torch.randn(3, 5, width).double()
    garbage = torch.cat([x, 100 * torch.randn(3, 2, width).double()], 1)
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[:, 5:] = False
    torch.testing.assert_close(encoder(garbage, mask), encoder(x), rtol=1e-10, atol=1e-12)
    assert not torch.allclose(encoder(garbage), encoder(x))


def test_order_counts_only_through_positions():
    encoder, x = SetEncoder(8, 2).double(), torch.randn(3, 5, 8).double()
    turned, positions = x.flip(1), torch.randn(1, 5, 8).double()
    torch.testing.assert_close(encoder(turned), encoder(x), rtol=1e-10, atol=1e-12)
    assert not torch.allclose(encoder(turned, positions=positions), encoder(x, positions=positions))


def test_sizes():
    """Set Transformer's blocks of width 64, less the key biases, which cancel."""
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert count(SetAttention(64, 4)) == 16_640 - 64
    assert count(SetAttention(64, 4, 1)) == 4_544 - 64
    assert count(SetPooling(64, 4)) == 16_704 - 64
    with pytest.raises(ConfigError, match="multiple of heads"):
        SetAttention(6, 4)
