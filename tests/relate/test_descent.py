"""What does not change tells the parent; pruning, rounding and equal copies are explained."""

import torch

from tests.relate.small import drifted, mlp, networks
from weightatlas.relate.descent import descents, unexplained
from weightatlas.relate.family import pruned, quantized
from weightatlas.relate.pair import Pair
from weightatlas.relate.traces import traces_of

SPEC = mlp()
ROOT = networks(SPEC, 1)


def _priced(first: torch.Tensor, second: torch.Tensor, permuted: bool = False):
    pair = Pair(first[0], second[0], SPEC, permuted=permuted, rescaled=False, heads=True)
    return descents(pair, (traces_of(first[0], SPEC), traces_of(second[0], SPEC)))


def _partly(start: torch.Tensor, kept: slice, time: int) -> torch.Tensor:
    moved = drifted(start, 0.3, 0) + 0.2 * (drifted(start, 0.3, time) - start)
    moved[:, kept] = start[:, kept]
    return moved


def test_numbers_that_stayed_tell_a_parent_from_a_nearer_sibling() -> None:
    """Both children move alike, and other numbers of each stay."""
    first, second = _partly(ROOT, slice(0, 20), 1), _partly(ROOT, slice(10, 30), 2)
    assert (first - second).norm() < (ROOT - second).norm()
    parent, sibling = _priced(ROOT, second)[0], _priced(first, second)[0]
    assert parent.changed == SPEC.params - 20
    assert sibling.changed > parent.changed
    assert parent.cost < sibling.cost


def test_pruned_and_rounded_networks_are_explained_one_way() -> None:
    for child in (pruned(ROOT, SPEC, [0.5]), quantized(ROOT, SPEC, "int8"), quantized(ROOT, SPEC, "float16")):
        down, up = _priced(ROOT, child)
        assert down.changed == 0
        assert up.changed > 0
        assert down.cost < up.cost


def test_copies_cost_no_step_and_renumbering_one() -> None:
    sparse = pruned(ROOT, SPEC, [0.5])
    copy, moved = _priced(sparse, sparse)[0], _priced(sparse, sparse, permuted=True)[0]
    made = _priced(ROOT, sparse)[0]
    assert copy.changed == moved.changed == made.changed == 0
    assert copy.cost < moved.cost
    assert copy.cost < made.cost  # a copy of a sparse network was not pruned again


def test_unexplained_differences_have_the_shape_of_the_network() -> None:
    sparse = pruned(ROOT, SPEC, [0.5])
    left = unexplained(ROOT[0], sparse[0], traces_of(sparse[0], SPEC))
    assert left.shape == (SPEC.params,)
    assert not left.any()
