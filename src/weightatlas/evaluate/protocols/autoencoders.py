"""Autoencoders of equal code size, made for the zoo of a stage."""

from pathlib import Path

import torch

from weightatlas.encoders.activation import Activation
from weightatlas.encoders.base import Autoencoder
from weightatlas.encoders.io import create_encoder
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.fit import fit
from weightatlas.fit.presets import preset
from weightatlas.runtime import generator_of
from weightatlas.weights.tokens import layout


def activation_encoder(stage: Stage, ratio: float = 1.8, images: int = 512, seed: int = 0) -> Activation:
    """Make activation codes for a zoo: its network, some of its training images, shares of its layers."""
    encoder = _coder(stage, "activation", ratio, images, seed)
    if not isinstance(encoder, Activation):
        raise TypeError(f"the encoder 'activation' is a {type(encoder).__name__}")
    return encoder


def sparse_encoder(stage: Stage, ratio: float = 1.8, images: int = 512, seed: int = 0) -> Autoencoder:
    """Make sparse activation codes for a zoo, with the images of `activation_encoder`."""
    return _coder(stage, "activation_sparse", ratio, images, seed)


def _coder(stage: Stage, name: str, ratio: float, images: int, seed: int) -> Autoencoder:
    pool = stage.pool.inputs
    order = torch.randperm(len(pool), generator=generator_of("activation queries", seed))
    encoder = create_encoder(name, stage.spec, ratio=ratio, images=min(images, len(pool))).to(stage.device)
    encoder.bind(stage.network, pool[order])
    encoder.adapt(stage.train)
    return encoder  # type: ignore[return-value]


def latent_of(stage: Stage, ratio: float = 1.8) -> int:
    """Numbers per token at which token codes have `ratio` parameters per number (the paper's 64 for CNN3)."""
    return max(int(stage.spec.params / ratio / layout(stage.spec).tokens), 1)


def pca_encoder(stage: Stage) -> Autoencoder:
    """Fit per-layer PCA of tokens: the linear baseline, at the size of the other codes."""
    encoder = create_encoder("pca", stage.spec, latent=latent_of(stage)).to(stage.device)
    encoder.adapt(stage.train)
    return encoder  # type: ignore[return-value]


def sane_encoder(
    stage: Stage, seed: int, out: Path | None, passes: int | None = None, minutes: float | None = None
) -> Autoencoder:
    """Train SANE with the structural and the behavioral loss on the stage's training networks."""
    chosen = preset("sane_small")
    settings = {**chosen.settings, "latent": latent_of(stage)}
    encoder = create_encoder(chosen.encoder, stage.spec, seed, **settings)
    length = {"passes": passes, "minutes": minutes} if passes or minutes else {}
    config = chosen.fit.replace(seed=seed, validate_every=0, **length)
    engine = stage.population
    fit(encoder, stage.weights("train"), config, out, queries=stage.pool, population=engine)
    return encoder.eval()  # type: ignore[return-value]
