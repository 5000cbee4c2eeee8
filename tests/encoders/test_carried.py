"""A trained SANE carried over to another layout."""

import pytest
import torch

from weightatlas.encoders.carried import carry_over
from weightatlas.encoders.sane import Sane, SaneConfig
from weightatlas.errors import DataError
from weightatlas.networks import create_network
from weightatlas.population.initialize import initialize
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import batch_of, weights_of


def spec(width: int):
    return spec_of(create_network("mlp", image_size=4, hidden=(width,)), (1, 4, 4))


@pytest.fixture(scope="module")
def trained() -> Sane:
    torch.manual_seed(0)
    encoder = Sane(SaneConfig(dim=16, layers=1, heads=2, latent=6), spec(8))
    encoder.adapt(batch_of(initialize(spec(8), torch.arange(20), "kaiming_normal"), spec(8)))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.02 * torch.randn(parameter.shape)
    return encoder.eval()


def test_wider_networks_are_coded_by_the_same_transformers(trained):
    wide = spec(20)
    prompts = initialize(wide, torch.arange(4), "kaiming_normal")
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    made = carry_over(trained, wide, batch_of(prompts, wide))
    assert made.plan.width == trained.plan.width
    assert made.plan.tokens > trained.plan.tokens
    assert torch.equal(made.encoder.enter.weight, trained.encoder.enter.weight)
    codes = made.encode(weights_of(prompts, wide)).codes
    assert codes.shape == (4, made.plan.tokens, 6)
    rebuilt = made.decode(codes, wide).weights.detach()
    assert float((rebuilt - prompts).norm()) < float((prompts - prompts.mean(0)).norm())
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_positions_beyond_the_table_repeat_the_last(trained):
    wide = spec(20)
    prompts = batch_of(initialize(wide, torch.arange(4), "kaiming_normal"), wide)
    old, new = trained.positions.channel.weight, carry_over(trained, wide, prompts).positions.channel.weight
    assert torch.equal(new[: len(old)], old)
    assert torch.equal(new[len(old) :], old[-1].expand(len(new) - len(old), -1))


def test_one_prompt_is_too_few(trained):
    one = batch_of(initialize(spec(8), torch.arange(1), "kaiming_normal"), spec(8))
    with pytest.raises(DataError, match="at least 2 are needed, not 1"):
        carry_over(trained, spec(8), one)
