"""Measures of paths against curves whose measures are known."""

import pytest
import torch
from scipy.stats import spearmanr

from weightatlas.errors import DataError
from weightatlas.evaluate.paths import measure_paths

AT = torch.linspace(0, 1, 21)


def test_a_straight_path_is_perfect() -> None:
    found = measure_paths((0.2 + 0.6 * AT)[None], AT, torch.tensor([[0.2, 0.8]]))
    assert found.barrier.item() == pytest.approx(0, abs=1e-6)
    assert found.area.item() == pytest.approx(0, abs=1e-6)
    assert found.linearity.item() == pytest.approx(1, abs=1e-6)
    assert found.spearman.item() == pytest.approx(1, abs=1e-6)
    assert found.endpoint_gap.item() == pytest.approx(0, abs=1e-6)


def test_a_collapse_has_a_barrier_and_a_bump_has_none() -> None:
    valley = torch.full((1, 21), 0.1)
    valley[0, 0] = valley[0, -1] = 0.9
    found = measure_paths(torch.cat([valley, 1 - valley]), AT, torch.tensor([[0.9, 0.7], [0.1, 0.1]]))
    torch.testing.assert_close(found.barrier, torch.tensor([0.8, 0.0]))
    torch.testing.assert_close(found.endpoint_gap, torch.tensor([0.1, 0.0]))
    assert found.area[0].item() == pytest.approx(0.8 * 0.95)


def test_ranks_and_constant_curves() -> None:
    curve = torch.tensor([[0.1, 0.1, 0.5, 0.3, 0.5], [0.4] * 5])
    at = torch.linspace(0, 1, 5)
    found = measure_paths(curve, at, torch.zeros(2, 2))
    assert found.spearman[0].item() == pytest.approx(spearmanr(curve[0], at)[0])
    assert found.spearman[1] == found.linearity[1] == 0


def test_records_name_every_measure() -> None:
    records = measure_paths(torch.rand(3, 21), AT, torch.rand(3, 2)).records(
        "m", bench="b", tier="smoke", zoo="z", seeds=(0,), split="lineage"
    )
    assert len(records) == 5
    assert all(record.n == 3 and record.spread is not None for record in records)


def test_places_must_run_from_one_end_to_the_other() -> None:
    with pytest.raises(DataError, match="0 to 1"):
        measure_paths(torch.rand(1, 3), torch.tensor([0.0, 0.5, 0.9]), torch.rand(1, 2))
