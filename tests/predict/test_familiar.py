"""Structure ignores permutations and sees shuffled tensors; behavior sees other answers."""

import torch

from tests.encoders import small
from weightatlas.predict.familiar import behavior, consensus, structure
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.weights.statistics import layer_statistics


def test_structure_ignores_permutations_but_not_shuffling() -> None:
    values = torch.randn(4, small.spec().params)
    here = structure(values, small.spec())
    moved = permute(values, sample(small.spec(), 4), small.spec())
    torch.testing.assert_close(structure(moved, small.spec()), here, rtol=1e-4, atol=1e-5)
    shuffled = values.clone()
    part = small.spec().slices["2.weight"]
    shuffled[:, part] = values[:, part][:, torch.randperm(30)]
    there = structure(shuffled, small.spec())
    count = layer_statistics(values, small.spec()).shape[1]
    torch.testing.assert_close(there[:, :count], here[:, :count])
    assert float((there - here).abs().max()) > 0.01
    assert bool(torch.isfinite(structure(torch.zeros(1, small.spec().params), small.spec())).all())


def test_behavior_tells_agreement_confidence_and_use_of_classes() -> None:
    usual = torch.tensor([0, 1, 2, 0])
    sure = 20 * torch.nn.functional.one_hot(usual, 3).float()
    stuck = torch.zeros(4, 3)
    stuck[:, 1] = 20
    found = behavior(torch.stack([sure, stuck, torch.zeros(4, 3)]), usual)
    assert found[:, 0].tolist() == [1, 0.25, 0.5]
    assert found[0, 1] > 0.99
    assert float(found[2, 1]) == 1 / 3 or abs(float(found[2, 1]) - 1 / 3) < 1e-9
    assert float(found[1, 4]) < 1e-6 < float(found[0, 4])
    assert bool(torch.isfinite(behavior(torch.full((1, 4, 3), torch.nan), usual)).all())
    assert torch.equal(consensus(torch.stack([sure, sure, stuck])), usual)
