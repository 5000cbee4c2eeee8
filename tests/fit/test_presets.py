"""Every preset can be built for the network it was published for."""

import pytest
import torch

from weightatlas.encoders.base import encoders
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError
from weightatlas.fit.presets import preset, presets
from weightatlas.networks.registry import create_network
from weightatlas.objectives import build_loss
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.spec import NetworkSpec


def spec_for(name: str) -> NetworkSpec:
    """Networks a preset was published for: implicit representations, or CNNs."""
    if name.endswith(("_inr", "_sine", "inr2array")):
        return spec_of(create_network("siren"), (2,))
    return spec_of(create_network("cnn3"), (3, 32, 32))


@pytest.mark.parametrize("name", presets())
def test_presets_build(name: str):
    chosen = preset(name)
    spec = spec_for(name)
    with torch.device("meta"):
        settings = dict(chosen.settings)
        if "skip" in settings:
            settings["skip"] = "none"  # PCA kinds cannot be counted on the meta device.
        encoder = create_encoder(chosen.encoder, spec, **settings)
    assert encoder.name in encoders.names()
    assert build_loss(chosen.fit.loss, 4).terms


def test_the_papers_loss():
    assert preset("sane_paper").fit.loss.weights == pytest.approx(
        {"contrastive": 0.05, "structural": 0.095, "behavioral": 0.855}
    )


def test_unknown_presets_are_refused():
    with pytest.raises(ConfigError, match="no encoder preset 'sane_big'"):
        preset("sane_big")
