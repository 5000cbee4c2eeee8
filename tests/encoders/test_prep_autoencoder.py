"""Autoencoders of several architectures: one code size, classes, refusals, affines."""

import pytest
import torch
from torch import nn

from tests.encoders import ladder, small
from weightatlas.encoders.io import create_encoder, from_pretrained, save_pretrained
from weightatlas.encoders.prep_autoencoder import Affine, PrepAutoencoder
from weightatlas.errors import ConfigError, SpecError
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import weights_of
from weightatlas.weights.prep import PrepOverflow

SIZES = {
    "netspace": {"dim": 6, "width": 8, "hidden": 8},
    "netspace_exact": {"width": 16, "height": 8},
}


def make(name: str = "netspace", **settings: object) -> PrepAutoencoder:
    encoder = create_encoder(name, None, ladder=ladder.specs(), **{**SIZES[name], **settings})
    assert isinstance(encoder, PrepAutoencoder)
    return encoder.eval()


@pytest.mark.parametrize("name", SIZES)
def test_every_architecture_has_a_code_of_one_size_and_comes_back_in_its_own(name: str) -> None:
    encoder = make(name)
    for step, spec in enumerate(ladder.specs()):
        encoded = encoder.encode(weights_of(ladder.values(step, 2), spec))
        assert encoded.codes.shape == (2, *encoder.code_shape(spec)) == (2, 1, encoder.config.dim)
        decoded = encoder.decode(encoded.codes, spec)
        assert decoded.weights.shape == (2, spec.params)
        assert decoded.aux["class"].shape == (2, 3)
        assert encoder.classes(encoded.codes).shape == (2,)


@pytest.mark.parametrize("name", SIZES)
def test_the_ladder_is_saved_with_the_encoder(name: str, tmp_path) -> None:
    encoder = make(name)
    encoder.adapt(ladder.batch())
    again = from_pretrained(save_pretrained(encoder, tmp_path))
    assert isinstance(again, PrepAutoencoder)
    assert [spec.layout_id for spec in again.ladder] == [spec.layout_id for spec in ladder.specs()]
    weights = weights_of(ladder.values(1, 2), ladder.specs()[1])
    assert torch.equal(again.reconstruct(weights), encoder.reconstruct(weights))


def test_what_is_not_on_the_ladder_is_refused() -> None:
    with pytest.raises(SpecError, match="knows 3 architectures"):
        make().encode(weights_of(small.values(1), small.spec()))
    with pytest.raises(SpecError, match="Pass `ladder`"):
        create_encoder("netspace")
    with pytest.raises(ConfigError, match="small to large"):
        create_encoder("netspace", ladder=ladder.specs()[::-1])
    with pytest.raises(ConfigError, match="same layout"):
        create_encoder("netspace", ladder=ladder.specs()[:1] * 2)
    with pytest.raises(SpecError, match="Codes have shape"):
        make().decode(torch.zeros(2, 1, 5), ladder.specs()[0])


def test_norms_must_be_folded() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    with pytest.raises(SpecError, match=r"1.running_var"):
        create_encoder("netspace", spec_of(network, (1, 5, 5)))


def test_a_network_that_does_not_fit_is_refused_when_the_encoder_is_made() -> None:
    with pytest.raises(PrepOverflow, match="67 parameters"):
        make(height=8, width=8)


def test_parts_of_the_affine_can_be_left_out() -> None:
    x, weight, bias = torch.randn(2, 3, 4), torch.randn(3, 4), torch.randn(3, 4)
    torch.testing.assert_close(Affine(weight, bias)(x), x * weight + bias)
    torch.testing.assert_close(Affine(weight, None)(x), x * weight)
    torch.testing.assert_close(Affine(None, bias)(x), x + bias)
    assert torch.equal(Affine(None, None)(x), x)
