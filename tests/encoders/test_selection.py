"""Selections keep the largest numbers of each network, and no more than the budget pays for."""

import pytest
import torch

from weightatlas.encoders.selection import Selection, even_kept, share_kept, words_of_marks
from weightatlas.errors import ConfigError

PLACES = [slice(0, 3), slice(3, 43), slice(43, 103)]


def test_every_network_keeps_its_own_largest_numbers() -> None:
    codes = torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    unit = torch.linspace(0.5, 2, 100)
    found = Selection(unit, torch.full((100,), 30)).apply(codes)
    assert torch.equal((found != 0).sum(1), torch.full((5,), 30))
    left, kept = (codes - found).abs() / unit, torch.where(found != 0, codes.abs() / unit, torch.inf)
    assert (left.amax(1) <= kept.amin(1)).all()
    assert torch.equal(found[found != 0], codes[found != 0])
    assert len({tuple(row.nonzero().flatten().tolist()) for row in found}) == 5


def test_parts_have_counts_of_their_own() -> None:
    codes, kept = torch.randn(4, 103), even_kept(PLACES, 1, 60)
    found = torch.cat([Selection(torch.ones(103), kept).apply(codes[:, p], p) for p in PLACES], dim=1)
    assert [int(kept[p][0]) for p in PLACES] == [int((found[0, p] != 0).sum()) for p in PLACES]


@pytest.mark.parametrize("budget", [30, 60, 107, 500])
def test_counts_and_marks_stay_within_the_budget(budget: int) -> None:
    codes = torch.randn(8, 103) * torch.cat([torch.ones(3), torch.full((40,), 5.0), torch.ones(60)])
    for kept in (
        even_kept(PLACES, 1, budget),
        share_kept(codes, torch.ones(103), PLACES, 1, budget),
    ):
        counts = [int(kept[place].unique()) for place in PLACES]
        assert counts[0] == 3
        assert all(1 <= count <= p.stop - p.start for count, p in zip(counts, PLACES, strict=True))
        assert sum(counts) + words_of_marks(103) <= max(budget, 107)
        assert budget < 107 or counts == [3, 40, 60]


def test_parts_with_larger_numbers_keep_more() -> None:
    codes = torch.randn(64, 103) * torch.cat([torch.ones(3), torch.full((40,), 5.0), torch.ones(60)])
    kept = share_kept(codes, torch.ones(103), PLACES, 1, 60)
    assert kept[PLACES[1]][0] / 40 > 2 * kept[PLACES[2]][0] / 60
    assert kept[PLACES[1]][0] + kept[PLACES[2]][0] > 60 - 4 - 3 - 3


def test_a_budget_that_pays_for_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="8 numbers do not pay for keeping some of 103"):
        even_kept(PLACES, 1, 8)


def test_many_parts_of_one_number_do_not_break_the_budget() -> None:
    places = [slice(i, i + 1) for i in range(9)] + [slice(9, 509), slice(509, 1009)]
    budget = 11 + words_of_marks(1009)
    for kept in (
        even_kept(places, 0, budget),
        share_kept(torch.randn(4, 1009), torch.ones(1009), places, 0, budget),
    ):
        assert [int(kept[place][0]) for place in places] == [1] * 11
