"""All pairs, by matched units or tensor by tensor."""

import pytest
import torch

from tests.relate.small import NULL, drifted, mlp, networks
from tests.relate.test_tensorwise import recurrent, rows
from weightatlas.relate import family
from weightatlas.relate.kinship import MatchedUnits, StoredTensors, kinship_of
from weightatlas.relate.tree import family_tree

SPEC = mlp()


def test_units_are_matched_where_they_are_certain():
    base = networks(SPEC, 2)
    values = torch.cat([base, family.permuted(drifted(base[:1]), SPEC)])
    found = kinship_of(values, SPEC, NULL)
    assert isinstance(found, MatchedUnits)
    assert found.p[0, 2] == found.p[2, 0] < 1e-4 < found.p[0, 1]
    pair = found.pair(2, 0)
    assert pair.permuted
    torch.testing.assert_close(pair.second, pair.first, atol=0.2, rtol=0)
    frames, own = found.frames(0, [2])
    torch.testing.assert_close(frames[0], own, atol=0.2, rtol=0)


def test_tensors_are_compared_elsewhere_and_copies_are_kin_however_small():
    values, spec = rows(recurrent, 2)
    values = torch.cat([values, drifted(values[:1])])
    found = kinship_of(values, spec, NULL)
    assert isinstance(found, StoredTensors)
    assert found.p[0, 2] < 1e-4 < found.p[0, 1]
    assert torch.equal(found.frames(0, [2])[0][0], values[2])
    assert not found.pair(0, 2).permuted
    tiny, spec = rows(lambda seed: torch.nn.Linear(3, 2), 2)
    assert kinship_of(tiny[[0, 1, 0]], spec, NULL).p[0].tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("make", [lambda: (networks(SPEC, 3), SPEC), lambda: rows(recurrent, 3)])
def test_networks_that_are_not_finite_are_nobodys_kin(make):
    values, spec = make()
    values = torch.cat([values, drifted(values[:1])])
    values[1, 0] = torch.nan
    found = kinship_of(values, spec, NULL)
    assert found.p[0, 3] < 1e-4
    assert found.p[1].tolist() == [1.0] * 4
    tree = family_tree(values, spec, NULL)
    assert (tree.arcs | {(0, 3), (3, 0)}, 1 in tree.roots) == ({(0, 3), (3, 0)}, True)
