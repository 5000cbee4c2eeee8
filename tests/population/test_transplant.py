"""A head is drawn anew, in its old size or another; everything before it stays."""

import pytest
import torch

from weightatlas.errors import SpecError
from weightatlas.networks import create_network
from weightatlas.population.forward import Population
from weightatlas.population.transplant import head_of, transplant
from weightatlas.symmetry.verify import spec_of

KEYS = torch.tensor([3, 4, 5])


def small(classes: int):
    network = create_network("resnet_small", channels_in=1, image_size=8, classes=classes, widths=(4, 6))
    return network, spec_of(network, (1, 8, 8))


@pytest.mark.parametrize("classes", [10, 26, 3])
def test_features_stay_and_heads_are_new(classes: int) -> None:
    source = small(10)[1]
    other, target = small(classes)
    values = torch.randn(3, source.params, generator=torch.Generator().manual_seed(0))
    for tensor in source.tensors:
        if tensor.role == "running_var":
            values[:, source.slices[tensor.name]] = 1.0
    moved = transplant(values, source, target, KEYS)
    assert moved.shape == (3, target.params)
    for tensor in source.tensors:
        if tensor.name not in head_of(source):
            assert torch.equal(moved[:, target.slices[tensor.name]], values[:, source.slices[tensor.name]])
    head = moved[:, target.slices[head_of(target)[0]]]
    assert len(head.unique(dim=0)) == 3
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert Population(other, target, engine="vmap")(moved, images).shape == (3, 2, classes)
    assert torch.equal(transplant(values, source, target, KEYS), moved)


def test_a_kept_head_keeps_all() -> None:
    _, spec = small(10)
    values = torch.randn(3, spec.params)
    assert torch.equal(transplant(values, spec, spec, KEYS, keep_head=True), values)


def test_other_layouts_are_refused_by_name() -> None:
    _, source = small(10)
    _, fewer = small(3)
    wide = create_network("resnet_small", channels_in=1, image_size=8, widths=(4, 8))
    values = torch.zeros(3, source.params)
    with pytest.raises(SpecError, match=r"is \(3, 6\), it was \(10, 6\)"):
        transplant(values, source, fewer, KEYS, keep_head=True)
    with pytest.raises(SpecError, match=r"is \(8, 4, 3, 3\), it was \(6, 4, 3, 3\)"):
        transplant(values, source, spec_of(wide, (1, 8, 8)), KEYS)
    plain = create_network("digits_cnn")
    with pytest.raises(SpecError, match="there are 8 tensors, there were"):
        transplant(values, source, spec_of(plain, (1, 8, 8)), KEYS)
