"""Tokens: golden counts of the literature, exact round trips, masks, positions."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.weights.plain_spec import plain_spec
from weightatlas.errors import ConfigError, SpecError
from weightatlas.weights.spec import NetworkSpec, Segment, TensorSpec
from weightatlas.weights.tokens import TokenConfig, detokenize, layout, tokenize


def cnn3() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3), nn.Conv2d(32, 15, 3), nn.Linear(60, 20), nn.Linear(20, 10)
    )


def test_cnn3_has_93_sparse_tokens_of_width_289() -> None:
    spec = plain_spec(cnn3())
    plan = layout(spec, TokenConfig(width=289))
    assert spec.params == 10_853
    assert (plan.tokens, plan.width) == (93, 289)
    assert int(plan.mask.sum()) == 10_853
    assert layout(spec, TokenConfig()).width == 289


def test_cnn3_dense_needs_40_tokens() -> None:
    assert layout(plain_spec(cnn3()), TokenConfig(width=289, mode="dense")).tokens == 40


def test_lenet5_has_356_tokens_at_width_256() -> None:
    lenet = nn.Sequential(
        nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5), nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)
    )
    assert layout(plain_spec(lenet), TokenConfig(width=256)).tokens == 356


def test_positions_count_tokens_layers_and_channels() -> None:
    plan = layout(plain_spec(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))), TokenConfig(width=2))
    assert plan.positions.tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 1], [3, 0, 1], [4, 1, 0], [5, 1, 0]]


def test_bias_is_the_last_column_of_its_row() -> None:
    linear = nn.Linear(2, 2)
    spec = plain_spec(linear)
    values = torch.cat([p.flatten() for p in linear.parameters()])[None].detach()
    tokens = tokenize(values, layout(spec))
    expected = torch.cat([linear.weight, linear.bias[:, None]], dim=1).detach()
    assert torch.equal(tokens[0], expected)


def test_norm_layers_give_rows_of_two_and_ones() -> None:
    plan = layout(plain_spec(nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3))), TokenConfig(width=4))
    assert plan.mask.sum(1).tolist() == [2] * 3 + [2] * 3 + [1] * 6
    assert plan.positions[:, 1].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    width=st.integers(1, 12),
    mode=st.sampled_from(["sparse", "dense"]),
    bias=st.booleans(),
)
def test_detokenize_inverts_tokenize_and_ignores_padding(
    sizes: list[int], width: int, mode: str, bias: bool
) -> None:
    pairs = itertools.pairwise(sizes)
    spec = plain_spec(nn.Sequential(*(nn.Linear(a, b, bias=bias) for a, b in pairs)))
    plan = layout(spec, TokenConfig.build({"width": width, "mode": mode}))
    values = torch.randn(3, spec.params)
    tokens = tokenize(values, plan)
    assert (tokens[:, ~plan.mask] == 0).all()
    tokens[:, ~plan.mask] = float("nan")
    assert torch.equal(detokenize(tokens, plan), values)


@pytest.mark.parametrize("mode", ["sparse", "dense"])
def test_tensors_without_axes_or_entries_are_cut_too(mode: str) -> None:
    shapes = {"number": (), "nothing": (0,), "hollow": (2, 0), "bias": (3,)}
    tensors = [
        TensorSpec(name=n, shape=s, role="other", axes=tuple((Segment(members=m),) for m in s), layer=0)
        for n, s in shapes.items()
    ]
    values, plan = torch.randn(2, 4), layout(NetworkSpec(tensors=tuple(tensors)), TokenConfig(mode=mode))
    assert torch.equal(detokenize(tokenize(values, plan), plan), values)


@pytest.mark.parametrize("width", [0, -1])
def test_a_width_below_one_is_refused(width: int) -> None:
    with pytest.raises(ConfigError, match="width"):
        TokenConfig.build({"width": width})


def test_a_spec_without_parameters_is_refused() -> None:
    with pytest.raises(SpecError, match="no parameters"):
        layout(NetworkSpec(tensors=()))
