"""Laws of permutations, and the one that counts: a permuted network is the same function."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.weights.architectures import ARCHITECTURES, build, inputs_for
from weightatlas.errors import SpecError
from weightatlas.runtime import generator_of
from weightatlas.symmetry.permutation import (
    compose,
    identity,
    index_map,
    invert,
    permute,
    sample,
    sample_by_key,
    uses_of,
)  # fmt: skip
from weightatlas.symmetry.verify import without_groups
from weightatlas.weights.spec import Segment
from weightatlas.weights.trace import trace
from weightatlas.weights.vector import unflatten

SPECS = {name: trace(*build(name)[:2]) for name in ARCHITECTURES}


def run(network, values, spec, inputs):
    """Outputs of each row, in float64."""
    network = copy.deepcopy(network).double()
    rows = []
    for row in values:
        rows.append(torch.func.functional_call(network, unflatten(row, spec), (inputs,)))
    return torch.stack(rows)


def row_of(network, spec):
    state = network.state_dict()
    return torch.cat([state[tensor.name].double().reshape(-1) for tensor in spec.tensors])[None]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_permuted_network_is_the_same_function(name):
    network, shape, _ = build(name)
    spec, inputs = SPECS[name], inputs_for(name, shape)
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    values = row_of(network, spec)
    many = permute(values.expand(5, -1), sample(spec, 5, generator_of(name)), spec)
    assert not torch.equal(many, values.expand(5, -1))
    outputs, expected = run(network, many, spec, inputs), run(network, values, spec, inputs)
    assert (outputs - expected).abs().max() <= 1e-9 * expected.abs().max()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_wrong_permutation_changes_the_function(name):
    network, shape, _ = build(name)
    spec, inputs = SPECS[name], inputs_for(name, shape)
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    values = row_of(network, spec)
    tensor, axis = uses_of(spec, 0)[0]
    entry = next(i for i, s in enumerate(spec.tensors[tensor].axes[axis]) if s.group == 0)
    old = spec.tensors[tensor]
    cut = tuple(s if i != entry else Segment(members=s.size) for i, s in enumerate(old.axes[axis]))
    axes = tuple(cut if i == axis else a for i, a in enumerate(old.axes))
    tensors = list(spec.tensors)
    tensors[tensor] = old.replace(axes=axes)
    wrong = spec.replace(tensors=tuple(tensors))
    rolled = tuple(torch.arange(n).roll(1)[None] for n in spec.groups)
    outputs = run(network, permute(values, rolled, wrong), spec, inputs)
    expected = run(network, values, spec, inputs)
    assert (outputs - expected).abs().max() > 1e-6 * expected.abs().max()


names = st.sampled_from(sorted(ARCHITECTURES))
seeds = st.integers(0, 2**31)


@settings(max_examples=40, deadline=None)
@given(names, seeds, st.integers(1, 4))
def test_inverting_undoes(name, seed, count):
    spec = SPECS[name]
    values = torch.randn(count, spec.params)
    perms = sample(spec, count, generator_of(seed))
    assert torch.equal(permute(permute(values, perms, spec), invert(perms), spec), values)
    undone = compose(perms, invert(perms))
    assert all(torch.equal(a, b) for a, b in zip(undone, identity(spec, count), strict=True))


@settings(max_examples=40, deadline=None)
@given(names, seeds)
def test_composing_is_applying_in_order_and_associative(name, seed):
    spec = SPECS[name]
    values = torch.randn(3, spec.params)
    a, b, c = (sample(spec, 3, generator_of(seed, i)) for i in range(3))
    assert torch.equal(permute(values, compose(a, b), spec), permute(permute(values, a, spec), b, spec))
    for left, right in zip(compose(compose(a, b), c), compose(a, compose(b, c)), strict=True):
        assert torch.equal(left, right)


@settings(max_examples=40, deadline=None)
@given(names, seeds)
def test_the_index_map_is_the_same_gather(name, seed):
    spec = SPECS[name]
    values, perms = torch.randn(3, spec.params), sample(spec, 3, generator_of(seed))
    index = index_map(perms, spec)
    assert torch.equal(values.gather(1, index), permute(values, perms, spec))
    assert torch.equal(index.sort(dim=1).values, torch.arange(spec.params).expand(3, -1))
    assert index_map(perms, spec, torch.int32).dtype == torch.int32


def test_new_comes_from_old_at_perm():
    spec = trace(torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Linear(3, 1)), (1,))
    values = torch.tensor([[10.0, 20.0, 30.0, 1.0, 2.0, 3.0, 7.0, 8.0, 9.0, 5.0]])
    moved = permute(values, (torch.tensor([[2, 0, 1]]),), spec)
    assert moved.tolist() == [[30.0, 10.0, 20.0, 3.0, 1.0, 2.0, 9.0, 7.0, 8.0, 5.0]]


def test_chunks_do_not_matter(monkeypatch):
    spec = SPECS["residual"]
    values, perms = torch.randn(7, spec.params), sample(SPECS["residual"], 7, generator_of(1))
    whole = permute(values, perms, spec)
    monkeypatch.setattr("weightatlas.symmetry.permutation._CHUNK", 2 * spec.params)
    assert torch.equal(permute(values, perms, spec), whole)


def test_a_network_keeps_its_permutation_among_other_companions():
    spec = SPECS["concat"]
    many = sample_by_key(spec, torch.tensor([5, 6, 7]))
    alone = sample_by_key(spec, torch.tensor([6]))
    assert all(torch.equal(group[1:2], other) for group, other in zip(many, alone, strict=True))
    assert any(not torch.equal(group[0], group[1]) for group in many)


def test_gradients_flow():
    spec = SPECS["attention"]
    values = torch.randn(2, spec.params, requires_grad=True)
    weights = torch.randn(2, spec.params)
    perms = sample(spec, 2, generator_of(3))
    (permute(values, perms, spec) * weights).sum().backward()
    assert torch.equal(values.grad, permute(weights, invert(perms), spec))


def test_samples_are_seeded_and_uniform():
    spec = SPECS["by_hand"]
    first, second = (sample(spec, 4000, generator_of(0))[0] for _ in range(2))
    assert torch.equal(first, second)
    assert abs(first[:, 0].double().mean() - 0.5) < 0.03


def test_a_spec_without_groups_moves_nothing():
    spec = without_groups(SPECS["residual"], [0, 1, 2])
    values = torch.randn(3, spec.params)
    assert torch.equal(permute(values, sample(spec, 3), spec), values)


def test_wrong_permutations_are_a_named_error():
    spec = SPECS["cnn_flatten"]
    values = torch.randn(2, spec.params)
    with pytest.raises(SpecError, match="do not fit groups"):
        permute(values, identity(spec, 2)[:1], spec)
    with pytest.raises(SpecError, match="2 networks"):
        permute(values, identity(spec, 3), spec)
