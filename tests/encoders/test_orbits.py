"""Blocks follow permutations, orbits are what permutations exchange."""

import pytest
import torch
from torch import nn

from tests.weights.architectures import ARCHITECTURES, build
from weightatlas.encoders.orbits import Layout, layout_of, orbit_scaling, orbits
from weightatlas.errors import SpecError
from weightatlas.symmetry.permutation import Permutations, permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.spec import NetworkSpec, Segment, TensorSpec


def permute_blocks(blocks: list[torch.Tensor], layout: Layout, perms: Permutations) -> list[torch.Tensor]:
    """Permute features along their groups, block by block."""
    found = []
    for block, value in zip(layout.blocks, blocks, strict=True):
        for axis, slot in enumerate(block.slots):
            if slot < layout.groups:
                index = perms[slot].long().view(len(value), *[1] * axis, -1, *[1] * (value.ndim - 2 - axis))
                value = value.gather(axis + 1, index.expand_as(value))
        found.append(value)
    return found


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_blocks_move_as_networks_do(name: str, ends: bool):
    network, shape, _ = build(name)
    spec = spec_of(network, shape)
    layout = layout_of(spec, ends)
    assert sorted(layout.order.tolist()) == list(range(spec.params))
    values = torch.randn(3, spec.params)
    perms = sample(spec, 3)
    before = layout.split(values[:, layout.order])
    after = layout.split(permute(values, perms, spec)[:, layout.order])
    for one, two in zip(permute_blocks(before, layout, perms), after, strict=True):
        assert torch.equal(one, two)
    assert any(not torch.equal(one, two) for one, two in zip(before, after, strict=True))


def test_blocks_of_the_small_cnn_of_the_zoos():
    spec = spec_of(
        nn.Sequential(
            nn.Conv2d(1, 16, 3),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 10),
        ),
        (1, 8, 8),
    )
    hidden = [(block.sizes, block.features) for block in layout_of(spec).blocks]
    assert hidden == [((16,), 9), ((16,), 1), ((16, 16), 9), ((16,), 1), ((16,), 10), ((), 10)]
    everywhere = [(block.sizes, block.features) for block in layout_of(spec, ends=True).blocks]
    assert everywhere == [((16, 1), 9), ((16,), 1), ((16, 16), 9), ((16,), 1), ((10, 16), 1), ((10,), 1)]
    last = layout_of(spec, ends=True).blocks[-2:]
    assert last[0].slots[0] == last[1].slots[0], "weight and bias of the outputs share their slot"


def test_orbits_are_what_permutations_exchange():
    network, shape, _ = build("cnn_flatten")
    spec = spec_of(network, shape)
    ids, moved = orbits(spec), torch.zeros(spec.params, spec.params, dtype=torch.bool)
    where = torch.arange(spec.params, dtype=torch.float64)
    for _ in range(60):
        source = permute(where[None], sample(spec, 1), spec)[0].long()
        moved[torch.arange(spec.params), source] = True
    assert bool((ids[:, None] == ids[None])[moved].all())
    # Sixty draws exchange most pairs of an orbit, and none beyond it.
    assert moved.sum() > 0.5 * (ids[:, None] == ids[None]).sum()


def test_scaling_by_orbit_commutes_and_standardizes():
    network, shape, _ = build("cnn_flatten")
    spec = spec_of(network, shape)
    values = 3 + torch.randn(40, spec.params) * torch.linspace(0.5, 2, spec.params)
    mean, std = orbit_scaling(values, spec)
    perms = sample(spec, 1)
    assert torch.equal(permute(mean[None], perms, spec)[0], mean)
    assert torch.equal(permute(std[None], perms, spec)[0], std)
    scaled = (values - mean) / std
    for orbit in orbits(spec).unique():
        part = scaled[:, orbits(spec) == orbit]
        assert part.mean().abs() < 1e-5
        assert part.std(correction=0) == pytest.approx(1, abs=1e-4)


def test_numbers_that_never_change_are_not_blown_up():
    network, shape, _ = build("cnn_flatten")
    spec = spec_of(network, shape)
    mean, std = orbit_scaling(torch.ones(4, spec.params), spec)
    assert torch.equal(std, torch.ones(spec.params))
    assert torch.equal(mean, torch.ones(spec.params))


def test_a_spec_without_groups_is_refused():
    axes = ((Segment(members=3),),)
    spec = NetworkSpec(tensors=(TensorSpec(name="b", shape=(3,), role="bias", axes=axes, layer=0),))
    with pytest.raises(SpecError, match="knows no permutation group"):
        layout_of(spec)
