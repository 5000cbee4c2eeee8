"""Relatives are found first, duplicates grouped."""

import pytest
import torch

from tests.relate.small import NULL, drifted, mlp, networks
from weightatlas.errors import DataError
from weightatlas.relate import family
from weightatlas.relate.search import duplicates, search

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
