"""State dict <-> vector: exact under original names, dtypes and aliases; mismatches named together."""

import pytest
import torch
from torch import nn

from tests.weights.plain_spec import plain_spec
from weightatlas.errors import DataError, SpecError
from weightatlas.weights.spec import NetworkSpec, TensorSpec
from weightatlas.weights.vector import check, flatten, signature_of, to_state_dict, unflatten


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_state_dicts_come_back_bit_for_bit(dtype: torch.dtype) -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Linear(3, 2)).to(dtype)
    network[1].num_batches_tracked += 7
    state, spec = network.state_dict(), plain_spec(network)
    back = to_state_dict(flatten([state], spec)[0], spec, signature_of(state, spec))
    assert list(back) == list(state)
    for name, value in state.items():
        assert back[name].dtype == value.dtype
        assert torch.equal(back[name], value)
    network.load_state_dict(back, strict=True)


def test_a_tensor_without_axes_is_a_number_among_others() -> None:
    number = TensorSpec(name="temperature", shape=(), role="other", axes=(), layer=0)
    spec = NetworkSpec(tensors=(number,))
    values = flatten([{"temperature": torch.tensor(0.5)}], spec)
    assert unflatten(values[0], spec)["temperature"].shape == ()
    assert unflatten(values, spec)["temperature"].shape == (1,)
    assert to_state_dict(values[0], spec)["temperature"] == 0.5


def test_tied_tensors_with_different_numbers_are_refused() -> None:
    first, bias = plain_spec(nn.Linear(3, 3)).tensors
    spec = NetworkSpec(tensors=(first.replace(name="0.weight", aliases=("1.weight",)), bias))
    state = {"0.weight": torch.randn(3, 3), "bias": torch.zeros(3)}
    check(state, spec)
    state["0.weight"][0, 0] = torch.nan
    check({**state, "1.weight": state["0.weight"].clone()}, spec)
    state["1.weight"] = state["0.weight"] + 1
    with pytest.raises(SpecError, match=r"'1.weight' differs from '0.weight'"):
        flatten([state], spec)


def test_complex_numbers_are_refused() -> None:
    network = nn.Linear(2, 2)
    state = {**network.state_dict(), "phase": torch.zeros(2, dtype=torch.complex64)}
    with pytest.raises(SpecError, match="'phase' holds complex numbers"):
        signature_of(state, plain_spec(network))


def test_counters_are_exchanged_and_nothing_else() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    network.register_buffer("version", torch.tensor(5))
    network[1].num_batches_tracked += 7
    signature = signature_of(network.state_dict(), plain_spec(network))
    assert signature.counters == (7, 0)
    fresh = signature.with_counters(())
    assert fresh.counters == (0, 0)
    assert fresh.constants["version"] == signature.constants["version"]
    assert fresh.with_counters((7, 0)) == signature
    with pytest.raises(ValueError, match="shorter"):
        signature.with_counters((1,))


@pytest.mark.parametrize("kind", [name for name in dir(torch) if name.startswith("float8_")])
def test_eight_bit_floats_come_back_bit_for_bit(kind: str) -> None:
    spec, dtype = plain_spec(nn.Linear(3, 2)), getattr(torch, kind)
    state = {n: torch.rand(t.shape).to(dtype) for n, t in nn.Linear(3, 2).state_dict().items()}
    back = to_state_dict(flatten([state], spec)[0], spec, signature_of(state, spec))
    assert all(back[name].view(torch.uint8).equal(value.view(torch.uint8)) for name, value in state.items())


def test_float64_is_marked_lossy() -> None:
    network = nn.Linear(2, 2).double()
    assert signature_of(network.state_dict(), plain_spec(network)).lossy == ("weight", "bias")


def test_unflatten_is_a_view_and_carries_gradients() -> None:
    spec = plain_spec(nn.Linear(3, 2))
    values = torch.randn(4, spec.params, requires_grad=True)
    named = unflatten(values, spec)
    assert named["weight"].shape == (4, 2, 3)
    named["bias"].sum().backward()
    assert values.grad is not None
    assert values.grad.sum() == 8


def test_every_mismatch_is_reported_at_once() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    state = dict(network.state_dict())
    del state["0.bias"]
    state["1.weight"] = torch.zeros(2, 5)
    state["stranger"] = torch.zeros(1)
    with pytest.raises(SpecError) as caught:
        check(state, plain_spec(network), where="In a.pt.")
    text = str(caught.value)
    assert "3 problems" in text
    for part in ("'0.bias' (2,) is missing", "(2, 5), the spec says (2, 2)", "'stranger'", "In a.pt."):
        assert part in text


def test_values_that_are_not_finite_are_counted() -> None:
    network = nn.Linear(2, 2)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    state["weight"][0, 0] = float("inf")
    with pytest.raises(DataError, match="'weight' holds 1 values"):
        check(state, plain_spec(network), finite=True)
