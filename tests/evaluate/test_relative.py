"""Distances between networks: each to a reference of its own, blind to neuron order."""

import torch

from tests.encoders import ladder
from weightatlas.evaluate.relative import aligned_each, relative_distances
from weightatlas.symmetry.permutation import permute, sample

SPEC, NETWORKS = ladder.specs()[2], ladder.values(2, 4)


def test_permuted_networks_come_back_to_their_own_originals() -> None:
    turned = permute(NETWORKS, sample(SPEC, 4, torch.Generator().manual_seed(3)), SPEC)
    assert (relative_distances(turned, NETWORKS) > 0.5).all()
    torch.testing.assert_close(aligned_each(turned, NETWORKS, SPEC), NETWORKS)


def test_distances_are_shares_of_the_reference() -> None:
    lengths = NETWORKS.norm(dim=1, keepdim=True)
    noise = torch.randn_like(NETWORKS)
    moved = NETWORKS + 0.3 * lengths * noise / noise.norm(dim=1, keepdim=True)
    torch.testing.assert_close(relative_distances(moved, NETWORKS), torch.full((4,), 0.3))


def test_a_network_that_is_not_finite_stays_so() -> None:
    broken = NETWORKS.clone()
    broken[1, 2] = torch.nan
    found = relative_distances(aligned_each(broken, NETWORKS, SPEC), NETWORKS)
    assert found.isfinite().tolist() == [True, False, True, True]
