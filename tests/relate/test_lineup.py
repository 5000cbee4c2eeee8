"""Copies and networks that are not finite are treated alike, whichever test applies."""

import pytest
import torch

from tests.relate.small import NULL, drifted, mlp, networks
from tests.relate.test_tensorwise import recurrent, rows
from weightatlas.relate.kinship import kinship_of
from weightatlas.relate.lineup import Lineup
from weightatlas.relate.search import search

SPEC = mlp()


def without_hidden_units():
    return rows(lambda seed: torch.nn.Linear(3, 2), 3)


@pytest.mark.parametrize(
    "make", [lambda: (networks(SPEC, 3), SPEC), lambda: rows(recurrent, 3), without_hidden_units]
)
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_copies_are_kin_and_nothing_is_known_of_what_is_not_finite(make, broken):
    values, spec = make()
    values = values[[0, 1, 0, 2, 2]].clone()
    values[3:, 1] = broken  # Equal as they are, these two are no relatives.
    for row, copies in enumerate([[0, 2], [1], [0, 2], [], []]):
        found = Lineup(values, spec, NULL).beside(row, slice(0, None))
        assert (found.p_value == 0).nonzero().flatten().tolist() == copies
        unknown = [3, 4] if row < 3 else [0, 1, 2, 3, 4]
        assert found.p_value[unknown].tolist() == [1.0] * len(unknown)
        assert found.score[unknown].tolist() == [-torch.inf] * len(unknown)
        assert not found.tested[unknown].any()
        assert kinship_of(values, spec, NULL).p[row, 3:].tolist() == [1.0, 1.0]
    near = search(values[0], values, spec, null=NULL)
    assert sorted(one.row for one in near if one.p_value == 0) == [0, 2]
    assert [(one.row, one.score, one.p_value) for one in near[3:]] == [(3, None, 1.0), (4, None, 1.0)]


def test_pairs_count_as_tested_where_there_is_a_test():
    values, spec = without_hidden_units()
    assert not Lineup(values, spec, NULL).beside(0, slice(1, None)).tested.any()
    values = torch.cat([networks(SPEC, 2), drifted(networks(SPEC, 1))])
    assert Lineup(values, SPEC, NULL).beside(0, slice(1, None)).tested.all()
