"""PReps: row after row, exact inverse, overflow refused, norms folded."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.weights.plain_spec import plain_spec
from weightatlas.errors import SpecError
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.fold import fold_network
from weightatlas.weights.prep import (
    PrepConfig,
    PrepOverflow,
    folded,
    from_prep,
    layout,
    to_prep,
)
from weightatlas.weights.vector import flatten, unflatten


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12), st.integers(0, 3))
def test_there_and_back_is_exact(inputs: int, outputs: int, width: int, spare: int) -> None:
    spec = plain_spec(nn.Linear(inputs, outputs))
    rows = -(-spec.params // width)
    for height in (None, rows, rows + spare):
        plan = layout(spec, PrepConfig(width=width, height=height))
        assert plan.shape == (height or rows, width)
        values = torch.randn(3, spec.params)
        prep = to_prep(values, plan)
        assert torch.equal(from_prep(prep, plan), values)
        assert torch.equal(prep[:, plan.mask], values)
        assert (prep[:, ~plan.mask] == 0).all()
        assert torch.equal(prep.flatten(1)[:, plan.slots.flatten() >= 0], values[:, plan.slots[plan.mask]])
        noise = torch.where(plan.mask, prep, torch.nan)  # what stands behind the network is ignored
        assert torch.equal(from_prep(noise, plan), values)


def test_rows_are_filled_layer_by_layer_weight_before_bias() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    prep = to_prep(
        flatten([network.state_dict()], plain_spec(network)), layout(plain_spec(network), PrepConfig(width=3))
    )
    expected = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    assert torch.equal(prep[0].flatten(), expected)


def test_overflow_is_refused_by_name() -> None:
    spec = plain_spec(nn.Linear(4, 5))
    with pytest.raises(PrepOverflow, match=r"25 parameters does not fit into a PRep of 2 x 12 = 24"):
        layout(spec, PrepConfig(width=12, height=2))
    with pytest.raises(PrepOverflow, match="at least 3"):
        layout(spec, PrepConfig(width=12, height=2))


def test_the_layout_is_made_once() -> None:
    spec = plain_spec(nn.Linear(4, 5))
    assert layout(spec, PrepConfig(width=6)) is layout(spec, PrepConfig(width=6))
    assert layout(spec, PrepConfig(width=6)).slots.dtype == torch.int32


def test_wrong_sizes_are_refused() -> None:
    plan = layout(plain_spec(nn.Linear(4, 5)), PrepConfig(width=6))
    with pytest.raises(SpecError, match="24 numbers"):
        to_prep(torch.zeros(1, 24), plan)
    with pytest.raises(SpecError, match="shape"):
        from_prep(torch.zeros(1, 4, 6), plan)


def test_norms_are_folded_and_the_function_stays() -> None:
    norm = nn.BatchNorm2d(3)
    norm.load_state_dict(
        {**norm.state_dict(), "running_mean": torch.randn(3), "running_var": torch.rand(3) + 0.5}
    )
    network = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), norm, nn.ReLU()).eval()
    spec = spec_of(network, (1, 5, 5))
    values, bare = folded(flatten([network.state_dict()], spec), spec)
    assert [tensor.role for tensor in bare.tensors] == ["weight", "bias"]
    plan = layout(bare, PrepConfig(width=8))
    back = from_prep(to_prep(values, plan), plan)
    simple = fold_network(network, spec)
    simple.load_state_dict(unflatten(back[0], bare))
    images = torch.randn(2, 1, 5, 5)
    torch.testing.assert_close(simple(images), network(images), rtol=1e-5, atol=1e-5)
    assert folded(values, bare)[1] is bare


def test_norms_that_cannot_be_folded_are_refused() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.BatchNorm2d(3))
    spec = spec_of(network, (1, 5, 5))
    with pytest.raises(SpecError, match="1 of 1 batch norms"):
        folded(torch.zeros(1, spec.params), spec)
