"""Variety is zero for copies, ignores the order of neurons, and is measured in the zoo's own unit."""

import pytest
import torch

from tests.evaluate.small import SPEC, exam, networks, permuted
from weightatlas.errors import DataError
from weightatlas.evaluate.distances import distances, nearest, pairwise_mean
from weightatlas.evaluate.diversity import disagreement, diversity, output_distance, surroundings


def test_distances_equal_the_definition_even_for_near_copies() -> None:
    first, second = networks(9) + 100, networks(5, seed=1) + 100
    second[0] = first[0]
    second[1] = first[1] + 1e-4
    expected = (first[:, None].double() - second[None].double()).norm(dim=2).float()
    torch.testing.assert_close(distances(first, second, chunk=4), expected, atol=1e-6, rtol=1e-5)
    found = nearest(first, second, chunk=2)
    assert found[1][:2].tolist() == [0, 1]
    torch.testing.assert_close(found[0], expected.min(1).values, atol=1e-6, rtol=1e-5)


def test_pairwise_mean_is_over_different_rows() -> None:
    assert pairwise_mean(torch.tensor([[0.0], [1.0], [2.0]])) == pytest.approx(4 / 3)
    with pytest.raises(DataError, match="at least 2 networks; there is 1"):
        pairwise_mean(torch.zeros(1, 3))


def test_copies_have_no_variety_and_training_networks_no_novelty() -> None:
    train = networks(15, seed=1)
    around = surroundings(train, SPEC)
    copies = diversity(train[:1].expand(4, -1), exam(), around)
    assert copies.weights == pytest.approx(0, abs=1e-5)
    assert copies.outputs == pytest.approx(0, abs=1e-5)
    assert copies.disagreement == pytest.approx(0, abs=1e-6)
    own = diversity(train[:6], exam(), around)
    assert own.nearest.max() < 1e-4
    assert own.neighbor.tolist() == [0, 1, 2, 3, 4, 5]
    assert own.weights > 0.5
    assert 0 < own.disagreement < 1


def test_permuted_copies_are_copies_only_after_alignment() -> None:
    train = networks(15, seed=1)
    moved = permuted(train[4:8], torch.tensor([4, 2, 0, 5, 1, 3]))
    assert diversity(moved, exam(), surroundings(train, SPEC)).nearest.max() < 1e-3
    assert diversity(moved, exam(), surroundings(train)).nearest.min() > 0.5


def test_numbers_are_in_units_of_the_zoo() -> None:
    train, new = networks(15, seed=1), networks(6, seed=3)
    once = diversity(new, exam(), surroundings(train)).numbers()
    twice = diversity(new * 3, exam(), surroundings(train * 3)).numbers()
    for name in ("weight diversity", "nearest training network"):
        assert once[name] == pytest.approx(twice[name], rel=1e-4)


def test_outputs_and_classes() -> None:
    outputs = torch.tensor([[[50.0, 0.0], [50.0, 0.0]], [[0.0, 50.0], [50.0, 0.0]]])
    assert output_distance(outputs) == pytest.approx(1.0)  # sqrt(2) on one of two images, root mean square
    assert disagreement(outputs.argmax(2)) == 0.5


def test_mistakes_are_named() -> None:
    with pytest.raises(DataError, match="no training networks"):
        surroundings(networks(0))
    with pytest.raises(DataError, match="copies of others"):
        surroundings(networks(1).expand(5, -1))
