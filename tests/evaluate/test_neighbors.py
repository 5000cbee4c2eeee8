"""Neurons may stand in any order: noise of size e is e away from its source."""

import itertools

import pytest
import torch

from tests.evaluate.small import SPEC, networks, permuted
from tests.weights.architectures import ARCHITECTURES, build
from weightatlas.errors import DataError
from weightatlas.evaluate.distances import distances
from weightatlas.evaluate.neighbors import Neighbors, invariants, matched_distances, matched_mean
from weightatlas.runtime import generator_of
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.weights.trace import trace


def noisy(values: torch.Tensor, size: float, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(values.shape, generator=generator_of("noise", seed))
    return values + size * noise / noise.norm(dim=1, keepdim=True)


def least(first: torch.Tensor, second: torch.Tensor) -> float:
    """The least distance over all 720 orders of the six hidden neurons."""
    orders = itertools.permutations(range(6))
    return min(float((permuted(first[None], torch.tensor(order))[0] - second).norm()) for order in orders)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_sorted_numbers_are_a_lower_bound_and_blind_to_order(name: str) -> None:
    spec = trace(*build(name)[:2])
    values = torch.randn(8, spec.params, generator=generator_of(name))
    turned = permute(values, sample(spec, 8, generator_of(1)), spec)
    torch.testing.assert_close(invariants(turned, spec), invariants(values, spec), rtol=0, atol=0)
    bound = distances(invariants(values, spec), invariants(values, spec))
    first, second = torch.triu_indices(8, 8, 1)
    assert (bound[first, second] <= matched_distances(values[first], values[second], spec) + 1e-4).all()


def test_matching_finds_the_least_distance_of_small_networks() -> None:
    first, second = networks(6, seed=2), networks(6, seed=5)
    found = matched_distances(first, second, SPEC)
    best = torch.tensor([least(one, other) for one, other in zip(first, second, strict=True)])
    torch.testing.assert_close(found, best, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [1e-3, 1e-2, 0.05, 0.3])
@pytest.mark.parametrize("name", ["cnn_flatten", "residual"])
def test_noise_is_as_far_from_its_source_as_it_is_large(name: str, size: float) -> None:
    """In the order of one common reference near copies of strangers came out a hundred times as far."""
    spec = trace(*build(name)[:2])
    train = torch.randn(60, spec.params, generator=generator_of("train"))
    far = size * float(train.norm(dim=1).mean())
    source = torch.arange(0, 60, 5)
    made = permute(noisy(train[source], far), sample(spec, 12, generator_of(2)), spec)
    found, index = Neighbors(train, spec).nearest(made)
    assert index.tolist() == source.tolist()
    torch.testing.assert_close(found, torch.full((12,), far), rtol=1e-3, atol=1e-5)


def test_strangers_are_as_near_as_their_best_match() -> None:
    train, new = networks(40, seed=1), networks(5, seed=3)
    found, index = Neighbors(train, SPEC).nearest(new, candidates=40)
    every = torch.stack([matched_distances(one.expand(40, -1), train, SPEC) for one in new])
    torch.testing.assert_close(found, every.min(1).values, atol=1e-5, rtol=1e-5)
    assert index.tolist() == every.argmin(1).tolist()
    few, _ = Neighbors(train, SPEC).nearest(new)
    assert (few <= distances(new, train).min(1).values + 1e-6).all()
    assert (few >= found - 1e-5).all()


def test_barred_networks_are_no_neighbors_and_broken_ones_have_none() -> None:
    train = networks(12, seed=1)
    own = torch.eye(12, dtype=torch.bool)
    found, index = Neighbors(train, SPEC).nearest(train, own)
    assert (found > 0.1).all()
    assert (index != torch.arange(12)).all()
    broken = train[:2].clone()
    broken[0, 3] = torch.nan
    far, _ = Neighbors(train, SPEC).nearest(broken)
    assert far[0].isnan()
    assert far[1] < 1e-5


def test_without_a_spec_distances_are_plain() -> None:
    train, new = networks(12, seed=1), networks(4, seed=2)
    found, index = Neighbors(train).nearest(new)
    expected = distances(new, train).min(1)
    assert torch.equal(found, expected.values)
    assert torch.equal(index, expected.indices)
    assert torch.allclose(matched_distances(new, train[:4], None), (new - train[:4]).norm(dim=1))


def test_spread_ignores_own_lineage() -> None:
    values = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    assert Neighbors(values).spread() == pytest.approx(0.1)
    assert Neighbors(values).spread(torch.tensor([0, 0, 1, 1])) == pytest.approx(4.9)
    assert Neighbors(values).spread(torch.tensor([0, 0, 1, 1]), sample=2) == pytest.approx(4.95, abs=0.06)
    with pytest.raises(DataError, match="two lineages"):
        Neighbors(values).spread(torch.zeros(4, dtype=torch.int64))


def test_means_over_pairs() -> None:
    assert matched_mean(torch.tensor([[0.0], [1.0], [2.0]])) == pytest.approx(4 / 3)
    values = networks(9)
    turned = torch.stack([permuted(one[None], torch.randperm(6))[0] for one in values])
    assert matched_mean(turned, SPEC) == pytest.approx(matched_mean(values, SPEC), rel=0.02)
    assert matched_mean(values, SPEC, pairs=30) == pytest.approx(matched_mean(values, SPEC), rel=0.1)
    copies = torch.stack([permuted(values[:1], torch.randperm(6))[0] for _ in range(4)])
    assert matched_mean(copies, SPEC) < 1e-5
    with pytest.raises(DataError, match="at least 2 networks; there is 1"):
        matched_mean(torch.zeros(1, 3))


def test_how_many_pairs_are_gathered_at_a_time_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    train, new = networks(30, seed=1), networks(7, seed=3)
    whole = Neighbors(train, SPEC).nearest(new)
    monkeypatch.setattr("weightatlas.evaluate.neighbors._CHUNK", 3 * SPEC.params)
    monkeypatch.setattr("weightatlas.evaluate.neighbors._LONG", 0)
    again = Neighbors(train, SPEC).nearest(new)
    assert all(torch.equal(one, other) for one, other in zip(whole, again, strict=True))
