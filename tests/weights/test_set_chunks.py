"""Chunks: every weight once, neurons apart, labels that permutations cannot change."""

import pytest
import torch
from torch import nn

from tests.weights.architectures import ARCHITECTURES, build
from weightatlas.errors import ConfigError, SpecError
from weightatlas.symmetry.permutation import index_map, sample
from weightatlas.weights.set_chunks import ChunkConfig, cut_chunks
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.trace import trace

CONFIGS = [ChunkConfig(), ChunkConfig(width=4), ChunkConfig(mode="flat", width=4), ChunkConfig(cap=20)]


def spec_named(name: str) -> NetworkSpec:
    network, shape, _ = build(name)
    return trace(network, shape)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_weight_stands_in_one_slot(name: str, config: ChunkConfig):
    spec = spec_named(name)
    slots = torch.cat([part.slots.flatten() for part in cut_chunks(spec, config)])
    assert slots[slots >= 0].sort().values.tolist() == list(range(spec.params))


def test_published_chunks_of_the_small_cnn():
    """26 chunks of 32 entries: weights 1 + 8 + 8 + 5, biases 4; kernels ride along."""
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )
    spec = trace(network, (1, 16, 16))
    small, large = cut_chunks(spec, ChunkConfig(mode="flat", width=32))
    assert (small.slots.shape, large.slots.shape) == ((9, 32), (17, 288))
    counts = torch.bincount(torch.cat([small.tensor, large.tensor])).tolist()
    assert counts == [1, 1, 8, 1, 8, 1, 5, 1]
    center = large.places[0, 4]
    assert center[:4].tolist() == [0, 0, 0, 0]
    assert large.places[0, 9 + 1, :4].tolist() == [1, -2, 0, 0]


def test_rows_never_hold_two_neurons():
    spec = trace(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), (5,))
    for part in cut_chunks(spec, ChunkConfig(width=2)):
        for chunk, tensor, (row, block) in zip(part.slots, part.tensor, part.index, strict=True):
            shape = spec.tensors[int(tensor)].shape
            local = chunk[chunk >= 0] - spec.offsets[int(tensor)]
            if len(shape) == 2:
                assert (local // shape[1]).tolist() == [int(row)] * len(local)
                assert int(local.min()) % shape[1] == 2 * int(block)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_labels_are_what_permutations_keep(name: str):
    """Moving neurons moves weights only among slots with equal labels and taps."""
    spec = spec_named(name)
    described = torch.zeros(spec.params, 12, dtype=torch.int64)
    for part in cut_chunks(spec, ChunkConfig(cap=10**6)):
        real = part.slots >= 0
        places, label = (
            part.places[part.template][..., 1:].long(),
            part.label[:, None].expand(-1, part.size, -1),
        )
        described[part.slots[real].long()] = torch.cat([places, label], 2)[real]
    index = index_map(sample(spec, 1, torch.Generator().manual_seed(0)), spec)[0]
    assert torch.equal(described[index], described)
    assert len(torch.unique(described, dim=0)) > 1


def test_memory_is_bounded_by_the_chunks_that_are_kept():
    spec = trace(nn.Linear(6, 100), (6,))
    part = cut_chunks(spec, ChunkConfig(most=10))[0]
    rows = part.index[part.tensor == 0, 0]
    assert rows.tolist() == list(range(0, 100, 10))


def test_mistakes_are_named():
    with pytest.raises(SpecError, match="no parameters"):
        cut_chunks(NetworkSpec(tensors=()), ChunkConfig())
    with pytest.raises(ConfigError, match="needs a width"):
        ChunkConfig.build({"mode": "flat"})
