"""Weight matching: recovers permutations, aligns strangers, never worsens, seeded."""

import pytest
import torch

from tests.weights.architectures import ARCHITECTURES, build
from weightatlas.errors import DataError, SpecError
from weightatlas.networks import create_network, input_shape_of
from weightatlas.runtime import generator_of
from weightatlas.symmetry import matching
from weightatlas.symmetry.matching import canonical, match
from weightatlas.symmetry.permutation import identity, permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.trace import trace


def normal(spec, count, seed=0):
    return torch.randn(count, spec.params, generator=generator_of("matching test", seed))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_permuted_copy_is_recovered_exactly(name):
    spec = trace(*build(name)[:2])
    reference = normal(spec, 1)
    copies = permute(reference.expand(6, -1), sample(spec, 6, generator_of(1)), spec)
    found = canonical(copies, reference[0], spec)
    assert torch.equal(found, reference.expand(6, -1))


@pytest.mark.parametrize("name", ["cnn3", "lenet5", "resnet_small"])
def test_registered_networks_are_recovered_exactly(name):
    spec = spec_of(create_network(name), input_shape_of(name))
    reference = normal(spec, 1)
    copies = permute(reference.expand(3, -1), sample(spec, 3, generator_of(2)), spec)
    assert torch.equal(canonical(copies, reference[0], spec), reference.expand(3, -1))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_strangers_come_closer_and_never_lie_farther(name):
    spec = trace(*build(name)[:2])
    values, reference = normal(spec, 20), normal(spec, 1, seed=9)[0]
    before = values.double() @ reference.double()
    after = canonical(values, reference, spec).double() @ reference.double()
    assert (after >= before - 1e-6).all()
    assert after.mean() > before.mean() + 0.1


def test_noise_does_not_prevent_recovery():
    spec = trace(*build("residual")[:2])
    reference = normal(spec, 1)
    noisy = permute(reference + 0.05 * normal(spec, 4, seed=3), sample(spec, 4, generator_of(4)), spec)
    assert (canonical(noisy, reference[0], spec) - reference).abs().max() < 0.5


def test_a_better_permutation_is_found_than_by_chance():
    spec = trace(*build("cnn_flatten")[:2])
    values, reference = normal(spec, 1), normal(spec, 1, seed=5)[0]
    chance = permute(values.expand(500, -1), sample(spec, 500, generator_of(6)), spec) @ reference
    assert canonical(values, reference, spec) @ reference > chance.max()


def test_the_result_is_seeded_and_independent_of_companions():
    spec = trace(*build("concat")[:2])
    values, reference = normal(spec, 12), normal(spec, 1, seed=7)[0]
    together = match(values, reference, spec, seed=3)
    again = match(values, reference, spec, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(together, again, strict=True))
    for row in (0, 5, 11):
        alone = match(values[row : row + 1], reference, spec, seed=3)
        assert all(torch.equal(a[row : row + 1], b) for a, b in zip(together, alone, strict=True))


def test_chunks_do_not_matter(monkeypatch):
    spec = trace(*build("cnn_flatten")[:2])
    values, reference = normal(spec, 5), normal(spec, 1, seed=8)[0]
    whole = match(values, reference, spec)
    monkeypatch.setattr("weightatlas.symmetry.matching._CHUNK", 2 * spec.params)
    assert all(torch.equal(a, b) for a, b in zip(whole, match(values, reference, spec), strict=True))


def test_wide_layers_of_few_weights_are_matched_a_few_networks_at_a_time(monkeypatch):
    spec = trace(torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)), (1,))
    values, reference = normal(spec, 20), normal(spec, 1, seed=8)[0]
    whole, sizes, assign = match(values, reference, spec), [], matching._assign
    monkeypatch.setattr(matching, "_CHUNK", 4 * 32**2)
    monkeypatch.setattr(matching, "_assign", lambda gains: sizes.append(gains.numel()) or assign(gains))
    assert all(torch.equal(a, b) for a, b in zip(whole, match(values, reference, spec), strict=True))
    assert max(sizes) == 4 * 32**2


def test_no_networks_give_no_permutations():
    spec = trace(*build("cnn_flatten")[:2])
    found = match(torch.zeros(0, spec.params), torch.zeros(spec.params), spec)
    assert [tuple(group.shape) for group in found] == [(0, size) for size in spec.groups]


def test_the_reference_itself_stays():
    spec = trace(*build("attention")[:2])
    reference = normal(spec, 1)
    found = match(reference, reference[0], spec)
    assert all(torch.equal(a, b) for a, b in zip(found, identity(spec, 1), strict=True))


def test_bad_input_is_a_named_error():
    spec = trace(*build("cnn_flatten")[:2])
    values = normal(spec, 3)
    values[1, 4] = float("nan")
    with pytest.raises(DataError, match=r"Networks \[1\] of 3"):
        match(values, values[0], spec)
    with pytest.raises(SpecError, match="the spec says"):
        match(values[:, :-1], values[0, :-1], spec)


@pytest.mark.parametrize("name", ["cnn_flatten", "residual", "concat"])
def test_every_network_may_have_a_reference_of_its_own(name, monkeypatch):
    spec = trace(*build(name)[:2])
    values, references = normal(spec, 7), normal(spec, 7, seed=4)
    together = match(values, references, spec)
    for row in range(7):
        alone = match(values[row : row + 1], references[row], spec)
        assert all(torch.equal(a[row : row + 1], b) for a, b in zip(together, alone, strict=True))
    monkeypatch.setattr("weightatlas.symmetry.matching._CHUNK", 2 * spec.params)
    assert all(torch.equal(a, b) for a, b in zip(together, match(values, references, spec), strict=True))


def test_references_must_be_one_or_as_many():
    spec = trace(*build("concat")[:2])
    with pytest.raises(SpecError, match="3 networks need one reference or as many, not 2"):
        match(normal(spec, 3), normal(spec, 2), spec)
