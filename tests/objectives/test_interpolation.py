"""Codes between codes: which pairs, which places, which architectures."""

import pytest
import torch

from weightatlas.objectives.interpolation import boundary_pairs, gammas, ladder_codes, nearest_by_score


def test_four_architectures_are_asked_for_at_thirds() -> None:
    torch.testing.assert_close(gammas(4), torch.tensor([1 / 3, 2 / 3]))
    torch.testing.assert_close(gammas(3), torch.tensor([0.5]))
    assert len(gammas(2)) == len(gammas(1)) == 0


def test_pairs_join_the_smallest_with_the_largest_only() -> None:
    rungs = torch.tensor([3, 0, 1, 2, 0, 3, 1])
    small, large = boundary_pairs(rungs, 4)
    assert {(int(a), int(b)) for a, b in zip(small, large, strict=True)} == {(1, 0), (1, 5), (4, 0), (4, 5)}
    assert all(len(part) == 0 for part in boundary_pairs(torch.tensor([0, 1, 2]), 4))
    assert all(len(part) == 0 for part in boundary_pairs(torch.tensor([0, 1]), 2))


@pytest.mark.parametrize(("few", "many"), [(1, 4), (2, 3), (2, 4), (3, 3), (4, 6)])
def test_pairs_are_distinct_and_use_every_network_before_any_twice(few: int, many: int) -> None:
    rungs = torch.cat([torch.zeros(few), torch.full((many,), 2.0)]).long()
    small, large = boundary_pairs(rungs, 3)
    assert len({(int(a), int(b)) for a, b in zip(small, large, strict=True)}) == few * many
    first = boundary_pairs(rungs, 3, most=few)
    assert len(set(first[0].tolist())) == len(set(first[1].tolist())) == few


def test_interpolated_codes_lie_on_the_line_and_know_their_architecture() -> None:
    codes = torch.randn(3, 1, 5)
    pairs = (torch.tensor([0, 2]), torch.tensor([1, 1]))
    between, rungs = ladder_codes(codes, pairs, 4)
    assert rungs.tolist() == [1, 2, 1, 2]
    torch.testing.assert_close(between[0], 2 / 3 * codes[0] + 1 / 3 * codes[1])
    torch.testing.assert_close(between[3], 1 / 3 * codes[2] + 2 / 3 * codes[1])


def test_the_nearest_score_is_found() -> None:
    scores = torch.tensor([0.1, 0.5, 0.9])
    assert nearest_by_score(torch.tensor([0.0, 0.69, 0.71]), scores).tolist() == [0, 1, 2]
