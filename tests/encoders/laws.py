"""Laws that encoders of any architecture obey, in float64 and with a negative control."""

from typing import Any

import torch
from torch import Tensor

from tests.weights.architectures import build
from weightatlas.encoders.base import Encoder
from weightatlas.encoders.io import create_encoder
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Batch, Weights, batch_of, weights_of
from weightatlas.weights.spec import NetworkSpec

STRUCTURES = ("cnn_flatten", "grouped", "depthwise", "residual", "concat", "attention", "torch_attention")


def networks(structure: str, count: int = 3) -> tuple[NetworkSpec, Tensor]:
    network, shape, _ = build(structure)
    spec = spec_of(network, shape)
    return spec, torch.randn(count, spec.params, dtype=torch.float64)


def changes(encoder: Encoder, structure: str) -> tuple[float, float]:
    """How far embeddings move under a permutation, and under one that moves a single tensor."""
    spec, values = networks(structure)
    encoder.adapt(batch_of(values.float(), spec))
    encoder = encoder.double().eval()
    moved = permute(values, sample(spec, len(values)), spec)
    wrong = values.clone()
    wide = max((t for t in spec.tensors if len(t.shape) > 1), key=lambda t: min(t.shape[:2]))
    part = spec.slices[wide.name]
    rows = wrong[:, part].reshape(len(values), wide.shape[0], -1)
    wrong[:, part] = rows.roll(1, dims=1).reshape(len(values), -1)
    with torch.no_grad():
        here, there, other = (encoder.encode(weights_of(v, spec)).embedding for v in (values, moved, wrong))
    return float((here - there).abs().max()), float((here - other).abs().max())


def mixed_equals_alone(name: str, **settings: Any) -> None:
    """Networks of several architectures in one batch are embedded as each of them alone."""
    parts = [networks(structure, 2) for structure in ("cnn_flatten", "residual", "attention")]
    encoder = create_encoder(name, seed=1, **settings).eval()
    groups = [
        Weights(values.float(), spec, torch.tensor([place, place + 3]))
        for place, (spec, values) in enumerate(parts)
    ]
    batch = Batch(tuple(groups))
    encoder.adapt(batch)
    together = encoder.embed(batch)
    for place, group in enumerate(groups):
        alone = encoder.embed(batch_of(group.values, group.spec))
        torch.testing.assert_close(together[[place, place + 3]], alone, rtol=1e-4, atol=1e-5)
