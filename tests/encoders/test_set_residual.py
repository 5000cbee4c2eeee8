"""Residual set blocks: order and padding never matter, and differences between sets survive."""

import pytest
import torch
from torch import Tensor

from weightatlas.encoders.set_blocks import SetEncoder
from weightatlas.encoders.set_residual import (
    MeanEncoder,
    MomentPooling,
    ResidualAttention,
    ResidualSetEncoder,
)
from weightatlas.errors import ConfigError

KINDS = ({}, {"pointwise": True}, {"inducing": 3}, {"seeds": 2, "width": 6})


def encoder(**settings: object) -> ResidualSetEncoder:
    torch.manual_seed(0)
    return ResidualSetEncoder(8, 2, **settings).double().eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_masked_items_change_nothing_and_order_counts_only_through_positions(settings: dict[str, object]):
    describe, x = encoder(**settings), torch.randn(3, 5, 8).double()
    garbage = torch.cat([x, 100 * torch.randn(3, 2, 8).double()], 1)
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[:, 5:] = False
    places = torch.randn(1, 5, 8).double()
    torch.testing.assert_close(describe(garbage, mask), describe(x), rtol=1e-10, atol=1e-12)
    assert not torch.allclose(describe(garbage), describe(x))
    torch.testing.assert_close(describe(x.flip(1)), describe(x), rtol=1e-10, atol=1e-12)
    assert not torch.allclose(describe(x.flip(1), positions=places), describe(x, positions=places))


def test_pooling_is_mean_spread_and_attention():
    pool, x = MomentPooling(8, 2, 1, 5).double(), torch.randn(4, 6, 8).double()
    spread = (x.var(1, correction=0) + 1e-6).sqrt()
    expected = pool.leave(torch.cat([x.mean(1), spread, pool.attend(pool.norm(x))], 1))
    torch.testing.assert_close(pool(x), expected)


def test_means_of_items_know_nothing_of_other_items():
    torch.manual_seed(0)
    describe, x = MeanEncoder(8, 2, width=5).double(), torch.randn(3, 6, 8).double()
    alone = torch.stack([describe(x[:, place : place + 1]) for place in range(6)]).mean(0)
    torch.testing.assert_close(describe(x), alone)
    mask = torch.arange(6).expand(3, 6) < 4
    torch.testing.assert_close(describe(x, mask), describe(x[:, :4]))
    assert not torch.allclose(describe(x, positions=torch.ones(1, 6, 8).double()), describe(x))


def test_inducing_points_replace_the_square_of_the_size():
    block = ResidualAttention(8, 2, inducing=3)
    assert block(torch.randn(2, 9, 8)).shape == (2, 9, 8)
    assert block.points is not None
    assert block.points.shape == (1, 3, 8)
    with pytest.raises(ConfigError, match="multiple of heads"):
        ResidualAttention(9, 2)


def difference(describe: torch.nn.Module, levels: int) -> float:
    """How far sets lie apart behind some levels of description, in units of their size."""
    torch.manual_seed(0)
    x: Tensor = torch.randn(64 * 3**levels, 8)
    with torch.no_grad():
        for _ in range(levels):
            x = describe(x.view(-1, 3, 8))
    return float(x.std(0).square().mean().sqrt() / x.square().mean().sqrt())


def test_sets_stay_apart_through_levels_of_description():
    """The published blocks shrink differences at every level until the mean is all that is left."""
    torch.manual_seed(0)
    published = SetEncoder(8, 2)
    assert difference(encoder().float(), 4) > 5 * difference(published, 4)
