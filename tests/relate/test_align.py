"""Matching recovers copies, never makes networks less alike, and treats each network by itself."""

import torch

from tests.relate.small import drifted, mlp, networks, resnet
from weightatlas.relate import align as module
from weightatlas.relate import family
from weightatlas.relate.align import align, flipped
from weightatlas.symmetry.permutation import permute
from weightatlas.weights.infer import infer


def test_renumbered_copies_come_back_exactly():
    for spec in (mlp(), resnet()):
        base = networks(spec, 2)
        found = align(family.permuted(base, spec, 5), base[0], spec)
        assert torch.equal(found.values[0], base[0])
        assert not torch.equal(found.values[1], base[1])


def test_values_follow_from_permutations_and_signs():
    spec = mlp("tanh")
    base = networks(spec, 3)
    moved = family.permuted(family.rescaled(base, spec, 2), spec, 1)
    found = align(moved, base[0], spec, spec)
    assert torch.allclose(found.values[0], base[0])
    again = permute(moved, found.perms, spec)
    for group, signs in enumerate(found.signs):
        assert set(signs.unique().tolist()) <= {-1.0, 1.0}
        again = flipped(again, spec, group, signs)
    assert torch.equal(again, found.values)


def test_a_relative_in_order_stays_in_order():
    spec = mlp()
    base = networks(spec, 1)
    found = align(drifted(base), base[0], spec)
    assert all(torch.equal(perm[0], torch.arange(perm.shape[1])) for perm in found.perms)


def test_companions_and_chunks_change_nothing(monkeypatch):
    spec = mlp()
    values = networks(spec, 5)
    values[3] = family.permuted(drifted(values[:1]), spec)[0]
    together = align(values, values[0], spec)
    alone = torch.cat([align(row[None], values[0], spec).values for row in values])
    assert torch.equal(together.values, alone)
    monkeypatch.setattr(module, "_CHUNK", spec.params)
    assert torch.equal(align(values, values[0], spec).values, together.values)
    assert len(align(values[:0], values[0], spec).values) == 0


def test_without_groups_nothing_is_moved():
    spec = infer({"w": torch.ones(2, 3)}).spec
    values = torch.arange(12.0).view(2, 6)
    found = align(values, values[0], spec)
    assert torch.equal(found.values, values)
    assert (spec.groups, found.perms, found.signs) == ((), (), ())
