"""Relatives are found first, duplicates grouped."""

import pytest
import torch

from tests.relate.small import NULL, drifted, mlp, networks
from weightatlas.errors import DataError
from weightatlas.relate import family
from weightatlas.relate.search import duplicates, search, search_stacks

SPEC = mlp()


def test_relatives_come_first():
    values = networks(SPEC, 6)
    values[4] = family.permuted(drifted(values[1:2]), SPEC)[0]
    found = search(values[1], values, SPEC, top=3, null=NULL)
    assert [neighbor.row for neighbor in found[:2]] == [1, 4]
    assert found[1].p_value < 1e-4 < found[2].p_value
    with pytest.raises(DataError, match="NaN"):
        search(values[0] / 0, values, SPEC, null=NULL)


def test_networks_that_are_not_finite_come_last():
    values = networks(SPEC, 4)
    values[2, 5] = torch.nan
    found = search(values[1], values, SPEC, null=NULL)
    assert (found[0].row, found[-1].row) == (1, 2)
    assert (found[-1].score, found[-1].p_value) == (None, 1.0)


def test_all_pairs_of_all_stacks_count_in_the_correction():
    """Otherwise a zoo in hundreds of small stacks would accuse strangers hundreds of times as often."""
    values = networks(SPEC, 6)
    values[4] = drifted(values[1:2], 3.0)[0]
    stacks = [(values[:2], SPEC), (values[2:3], mlp("tanh")), (values[3:], SPEC)]
    alone = {one.row: one for one in search(values[1], values[3:], SPEC, null=NULL)}
    found = {one.row: one for one in search_stacks(values[1], stacks, null=NULL)}
    assert found[4].p_value == pytest.approx(2 * alone[1].p_value, rel=1e-9)
    assert 0 < found[4].p_value < 1
    assert found[4].score == alone[1].score
    values[0] = torch.nan
    found = {one.row: one for one in search_stacks(values[1], stacks, null=NULL)}
    assert found[4].p_value == pytest.approx(5 / 3 * alone[1].p_value, rel=1e-9)
    assert search_stacks(values[1], []) == []


def test_networks_of_several_stacks_are_ranked_together():
    values = networks(SPEC, 6)
    values[5] = drifted(values[1:2])[0]
    one, several = (
        search_stacks(values[1], stacks, null=NULL)
        for stacks in ([(values, SPEC)], [(values[:3], SPEC), (values[3:], SPEC)])
    )
    assert [near.row for near in several] == [near.row for near in one]
    assert [near.row for near in several[:2]] == [1, 5]
    assert [near.score for near in several] == pytest.approx([near.score for near in one], abs=1e-5)


def test_duplicates_are_grouped_by_kind():
    values = networks(SPEC, 6)
    values[3] = values[0]
    values[4] = family.permuted(values[1:2], SPEC)[0]
    values[5] = family.quantized(values[2:3], SPEC, "int8")[0]
    found = {group.kind: group for group in duplicates(values, SPEC)}
    assert {kind: group.rows for kind, group in found.items()} == {
        "exact": (0, 3),
        "copies": (1, 4),
        "near": (2, 5),
    }
    assert found["copies"].bytes_saved == 4 * SPEC.params
    assert duplicates(torch.cat([values[:1], values[2:3]]), SPEC) == []
