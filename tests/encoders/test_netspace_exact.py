"""The published NetSpace: its parameter counts, its shapes, what it refuses."""

import pytest
import torch
from torch import nn

from tests.encoders import small
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.netspace_exact import ExactDecoder, ExactEncoder
from weightatlas.errors import ConfigError


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_published_parameter_counts() -> None:
    with torch.device("meta"):
        assert count(ExactEncoder(4096)) == 6_788_352
        assert count(ExactDecoder(4096, 8, 10_000, (True, True))) == 2_875_394
        assert count(ExactDecoder(4096, 16, 10_000, (True, True))) == 3_055_874
        assert count(ExactDecoder(4096, 88, 10_000, (True, True))) == 4_721_258 - 41_064  # the class head
        assert count(ExactDecoder(4096, 8, 10_000, (False, True))) == 2_875_394 - 80_000


def test_the_class_head_completes_the_published_count() -> None:
    specs = [small.spec(), *(_wide(width) for width in (9, 11, 13))]
    with torch.device("meta"):
        encoder = create_encoder("netspace_exact", ladder=specs, height=88)
    parts = dict(encoder.named_children())
    assert count(parts["decoder"], parts["head"]) == 4_721_258
    assert count(parts["head"]) == 41_064


def _wide(width: int):
    from tests.weights.plain_spec import plain_spec

    return plain_spec(nn.Linear(width, 10))


def test_the_encoder_takes_preps_of_any_size_and_the_decoder_fills_its_own() -> None:
    encoder = ExactEncoder(4096)
    assert encoder(torch.randn(1, 4, 24)).shape == encoder(torch.randn(1, 3, 41)).shape == (1, 4096)
    decoder = ExactDecoder(8192, 4, 16, (True, True))
    assert decoder(torch.randn(2, 8192)).shape == (2, 4, 16)


def test_the_encoder_sees_the_largest_response_of_every_row() -> None:
    """The maximum over places forgets where in a row a pattern stands (away from the ends)."""
    encoder, prep = ExactEncoder(4096), torch.zeros(1, 1, 64)
    moved = prep.clone()
    prep[0, 0, 20], moved[0, 0, 40] = 3.0, 3.0
    torch.testing.assert_close(encoder(prep), encoder(moved))


@pytest.mark.parametrize("settings", [{"height": 6}, {"width": 10_001}, {"dim": 1000}, {"height": None}])
def test_sizes_that_do_not_divide_are_refused(settings: dict) -> None:
    with pytest.raises(ConfigError, match="must be a multiple"):
        create_encoder("netspace_exact", small.spec(), **settings)


def test_the_class_head_reads_one_code_size() -> None:
    with pytest.raises(ConfigError, match="class head"):
        create_encoder("netspace_exact", ladder=[small.spec(), _wide(9)], dim=8192)
