"""Encoders on disk: the same numbers come back, and damage is named."""

import json
from pathlib import Path

import pytest
import torch

from tests.encoders import small
from weightatlas.encoders.base import Autoencoder, Encoder, encoders
from weightatlas.encoders.io import create_encoder, from_pretrained, save_pretrained
from weightatlas.errors import ConfigError, FileError
from weightatlas.weights.batch import batch_of

SIZES = {
    "sane": {"dim": 16, "layers": 1, "heads": 2, "latent": 3},
    "pca": {"latent": 3},
    "hyper_representation": {"dim": 16, "layers": 1, "heads": 2, "latent": 6},
    "hyper_release": {"dim": 16, "layers": 1, "heads": 2, "hidden": 16, "latent": 6},
    "activation": {"images": 32},
    "activation_sparse": {"images": 32},
    "netspace": {"dim": 5, "width": 8, "hidden": 8, "features": 2},
    "netspace_exact": {"width": 16},
    "signal_space": {"dim": 40},
    "implicit": {"dim": 8, "rows": 8, "width": 16},
    "deep_sets": {"width": 8, "layers": 2},
    "stat_nn": {"hidden": (16, 8)},
    "mlp": {"hidden": (16, 8)},
    "dng": {"dim": 8, "edges": 8},
    "neural_graph": {"nodes": 8, "edges": 8, "layers": 2, "heads": 2},
    "probes": {"probes": 4, "hidden": (8,)},
    "probed": {"settings": {"dim": 8, "edges": 8}, "probes": {"probes": 4, "hidden": (8,)}},
    "nfn_hnp": {"channels": (4, 3)},
    "nfn_np": {"channels": (4, 3)},
    "nft": {"dim": 8, "blocks": 1, "heads": 2},
    "dws": {"hidden": 8, "layers": 1, "heads": 2},
}


def adapted(name: str) -> Encoder:
    encoder = create_encoder(name, small.spec(), seed=4, **SIZES.get(name, {}))
    encoder.bind(small.network(), small.queries())
    encoder.adapt(batch_of(small.values(12), small.spec()))
    return encoder.eval()


@pytest.mark.parametrize("name", encoders.names())
def test_reload_is_bit_equal(name: str, tmp_path: Path):
    encoder = adapted(name)
    again = from_pretrained(save_pretrained(encoder, tmp_path / "e"))
    again.bind(small.network())
    weights = batch_of(small.values(3, seed=2), small.spec()).groups[0]
    assert torch.equal(again.encode(weights).codes, encoder.encode(weights).codes)
    assert torch.equal(again.encode(weights).embedding, encoder.encode(weights).embedding)
    if isinstance(encoder, Autoencoder) and isinstance(again, Autoencoder) and encoder.decodes_weights:
        assert torch.equal(again.reconstruct(weights), encoder.reconstruct(weights))
    assert again.config == encoder.config
    assert again.spec == encoder.spec
    assert ("layout" in (tmp_path / "e" / "README.md").read_text()) == (encoder.spec is not None)


def test_the_seed_decides_the_start_and_leaves_the_stream_alone():
    spec = small.spec()
    before = torch.get_rng_state()
    one, same, other = (create_encoder("sane", spec, seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    name = "encoder.enter.weight"
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])


def test_damage_is_named(tmp_path: Path):
    folder = save_pretrained(adapted("sane"), tmp_path / "e")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(FileError, match=r"model\.safetensors is missing, damaged"):
        from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(FileError, match="cannot be read as JSON"):
        from_pretrained(folder)
    with pytest.raises(FileError, match="does not hold an encoder"):
        from_pretrained(tmp_path)


def test_unknown_names_and_settings_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"(?s)no encoder called 'sain'.*Did you mean 'sane'"):
        create_encoder("sain", small.spec())
    with pytest.raises(ConfigError, match="did you mean 'latent'"):
        create_encoder("sane", small.spec(), latnet=3)
    folder = save_pretrained(adapted("pca"), tmp_path / "e")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(ConfigError, match="format 99"):
        from_pretrained(folder)
