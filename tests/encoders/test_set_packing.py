"""Packing: every set sees its items and no others, in any sizes; passes change nothing."""

import pytest
import torch

from weightatlas.encoders.set_blocks import SetEncoder
from weightatlas.encoders.set_packing import Budget, encode_sets, pack, sizes_of

WIDE = Budget(10**6, 10**6)


@pytest.mark.parametrize("exact", [0, 8])
def test_sets_equal_a_loop(exact: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("weightatlas.encoders.set_packing.EXACT", exact)
    sets = torch.tensor([2, 0, 1, 2, 2, 0, 2, 3, 2])
    items, positions = torch.randn(9, 8).double(), torch.randn(9, 8).double()
    encoder = SetEncoder(8, 2).double()
    packed = encode_sets(encoder, items, sets, 4, WIDE, positions)
    for number in range(4):
        own = sets == number
        alone = encoder(items[own][None], positions=positions[own][None])
        torch.testing.assert_close(packed[number : number + 1], alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("budget", [Budget(3, 10**6), Budget(3, 1)])
def test_passes_give_the_same_values_and_gradients(budget: Budget):
    sets, items = torch.tensor([0, 0, 1, 1, 2, 2, 2]), torch.randn(7, 8).double()
    encoder = SetEncoder(8, 2).double()
    found = []
    for limit in (WIDE, budget):
        encoder.zero_grad()
        values = encode_sets(encoder, items, sets, 3, limit)
        values.square().sum().backward()
        grads = [p.grad.flatten() for p in encoder.parameters() if p.grad is not None]
        found.append((values.detach(), torch.cat(grads)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def test_buckets_cover_all_sets_once_and_pad_little():
    generator = torch.Generator().manual_seed(0)
    sets = torch.cat([torch.arange(40), torch.randint(40, (1000,), generator=generator)])
    buckets = pack(sets[torch.randperm(len(sets), generator=generator)], 40)
    assert torch.cat([bucket.sets for bucket in buckets]).sort().values.tolist() == list(range(40))
    slots = sum(bucket.index.numel() for bucket in buckets)
    assert 1040 <= slots < 1.5 * 1040
    assert sizes_of(torch.tensor([], dtype=torch.int64)).tolist() == []
