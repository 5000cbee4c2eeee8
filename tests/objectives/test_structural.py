"""Structural loss: real weights only, in normalized units; the diluted switch."""

import pytest
import torch

from tests.encoders import small
from weightatlas.encoders.base import Autoencoder
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError
from weightatlas.objectives import Step, Structural
from weightatlas.weights.batch import batch_of


def step_of(token_width: int | None = None, **settings: object) -> Step:
    encoder = create_encoder(
        "sane",
        small.spec(),
        dim=8,
        layers=1,
        heads=2,
        latent=3,
        token_width=token_width,
        skip="none",
        **settings,
    )
    assert isinstance(encoder, Autoencoder)
    batch = batch_of(small.values(12), small.spec())
    encoder.adapt(batch)
    generator = torch.Generator().manual_seed(0)
    encoded, decoded = encoder(batch.groups[0], whole=False, generator=generator)
    return Step(weights=batch.groups[0], encoder=encoder, encoded=encoded, decoded=decoded)


def test_it_is_the_mean_squared_error_of_standardized_weights():
    step = step_of()
    assert step.decoded is not None
    error = (step.decoded.weights - step.weights.values) / step.encoder.std
    torch.testing.assert_close(Structural()(step)["structural"], error.square().mean())
    # An encoder that always answers with the mean is wrong by the variance: one.
    assert float(Structural()(step)["structural"].detach()) == pytest.approx(1.0, abs=0.05)


@torch.no_grad()
def test_extra_padding_dilutes_only_the_diluted_loss():
    """Token width 7 and width 21 hold the same weights; the second is mostly padding."""
    tight, wide = step_of(7), step_of(21)
    wide = Step(weights=wide.weights, encoder=wide.encoder, encoded=wide.encoded, decoded=wide.decoded)
    assert tight.decoded is not None
    assert wide.decoded is not None
    wide.decoded.weights.copy_(tight.decoded.weights)
    torch.testing.assert_close(Structural()(tight), Structural()(wide))
    diluted = [float(Structural(diluted=True)(step)["structural"]) for step in (tight, wide)]
    assert diluted[0] == pytest.approx(3 * diluted[1], rel=1e-5)
    real = small.spec().params / (14 * 7)
    assert diluted[0] == pytest.approx(real * float(Structural()(tight)["structural"]), rel=1e-5)


@torch.no_grad()
def test_a_window_counts_its_own_weights_only():
    step = step_of(window=4)
    assert step.decoded is not None
    covered = step.decoded.aux["covered"]
    error = ((step.decoded.weights - step.weights.values) / step.encoder.std)[:, covered]
    torch.testing.assert_close(Structural()(step)["structural"], error.square().mean())


def test_it_needs_something_decoded():
    step = step_of()
    with pytest.raises(ConfigError, match="needs an autoencoder"):
        Structural()(Step(weights=step.weights, encoder=step.encoder, encoded=step.encoded))
