"""Layer-wise loss normalization: what it does to networks that hyper-representations decode."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.encoders.base import Autoencoder
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError
from weightatlas.evaluate.compression import mean_network
from weightatlas.evaluate.protocols.downstream import tuned
from weightatlas.evaluate.protocols.generation import anchors_of, codes_of
from weightatlas.evaluate.protocols.losses import Training, rebuild
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.evaluate.reconstruction import compare
from weightatlas.fit.loop import fit
from weightatlas.fit.presets import preset
from weightatlas.latent.sample import generate
from weightatlas.results import Kind, Record
from weightatlas.runtime import generator_of, key_of
from weightatlas.weights.spec import NetworkSpec

Normalize = Literal["none", "global_mean", "layer_mean"]
WAYS: tuple[Normalize, ...] = ("none", "global_mean", "layer_mean")


class LayerwiseConfig(Training):
    """Settings of `bench layerwise`.

    Args:
        count: Networks to draw, and to fine-tune.
        anchors: Share of the training networks that serve as anchors, best by validation accuracy.
        epochs: Epochs of fine-tuning at which drawn networks are judged.
        lr: Learning rate of fine-tuning.
    """

    count: int = Field(ge=2)
    anchors: float = Field(default=0.3, gt=0, le=1)
    epochs: tuple[int, ...]
    lr: float = 1e-3


cards["layerwise"] = Card(
    "hyper-representations with and without layer-wise loss normalization: decoded and drawn networks",
    "digits",
    {"smoke": 0.3, "laptop": None, "paper": None},
    (
        *("agreement", "accuracy", "error of the worst layer", "error of the best layer"),
        *("accuracy after 0", "accuracy after 1", "accuracy after 5"),
    ),
    settings=LayerwiseConfig,
)


@benches.register("layerwise")
def layerwise(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Train hyper-representations with raw errors, with errors in layers' units, and with equal layers.

    Measured on rebuilt test networks: agreement, accuracy, and the error of each layer relative to the
    variance of the layer over test networks (1 is what the mean network reaches). Networks drawn around
    anchors, one density per code number, are fine-tuned (the published use). The mean network stands beside.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization, training and draws.
        cache: Folder of zoos and encoders; beside `out` by default.
        changes: Settings that differ from `presets/benches/layerwise.yaml`.
    """
    settings = settings_of("layerwise", tier, LayerwiseConfig, changes)
    units = [Unit("mean network", 0, mean_records)]
    units += [
        Unit(f"normalize {way}", seed, partial(records_of, way=way, seed=seed, settings=settings))
        for seed in seeds
        for way in WAYS
    ]
    return run_units("layerwise", tier, out, settings.recipe, units, (), cache)


def mean_records(there: Stage) -> list[Record]:
    """Judge the mean training network in the place of every test network."""
    values = mean_network(there.train_values, len(there.test)).weights
    return _records(there, "mean network", "baseline", rebuilt_numbers(there, values), 0)


def records_of(there: Stage, way: Normalize, seed: int, settings: LayerwiseConfig) -> list[Record]:
    """Train with one normalization and one seed, and judge rebuilt and drawn networks."""
    encoder = trained(there, way, seed, settings)
    numbers = rebuilt_numbers(there, rebuild(encoder, there.weights("test"))[0])
    codes = codes_of(encoder, anchors_of(there, settings.anchors), there)
    source = generator_of("layerwise", seed)
    made = generate(encoder, codes, there.spec, settings.count, source, "kde_dimension")
    arguments = (there.network, there.spec, there.task, made, settings.epochs, settings.lr, seed)
    return _records(there, f"normalize {way}", "ours", {**numbers, **tuned(*arguments)}, seed)


def trained(there: Stage, way: Normalize, seed: int, settings: LayerwiseConfig) -> Autoencoder:
    """Train a hyper-representation with one normalization, or read it back.

    Raises:
        ConfigError: The preset is of another encoder.
    """
    chosen = preset(settings.preset)
    if chosen.encoder != "hyper_representation":
        raise ConfigError(
            f"The preset '{settings.preset}' is of '{chosen.encoder}', which has no such units."
        )
    encoder: Any = create_encoder(chosen.encoder, there.spec, seed, **{**chosen.settings, "normalize": way})
    changes = {"passes": settings.passes, "seed": seed, "validate_every": 0, "device": str(there.device)}
    config = chosen.fit.replace(**changes)
    mark = f"{key_of(config.identity, encoder.config) & 0xFFFF_FFFF:08x}"
    folder = there.cache / "runs" / f"layerwise-{there.name}-{there.tier}-{mark}"
    fit(encoder, there.train, config, folder)
    return encoder


def rebuilt_numbers(there: Stage, values: Float[Tensor, "networks params"]) -> dict[str, float]:
    """Measure rebuilt test networks and the relative error of each layer."""
    result = compare(there.exam, there.test_values, values, there.reference, there.test_outputs)
    errors = layer_errors(there.test_values, values, there.spec)
    return {
        "agreement": float(result.agreement.double().mean()),
        "excess agreement": result.excess,
        "accuracy": float(result.accuracy.double().mean()),
        "error of the worst layer": float(errors.max()),
        "error of the best layer": float(errors.min()),
        **{f"error of layer {place}": float(error) for place, error in enumerate(errors)},
    }


def layer_errors(
    true: Float[Tensor, "networks params"], rebuilt: Float[Tensor, "networks params"], spec: NetworkSpec
) -> Float[Tensor, " layers"]:
    """Squared error of each layer divided by the layer's variance over networks.

    Example:
        >>> from weightatlas.weights.spec import Segment, TensorSpec
        >>> axes = ((Segment(members=2),),)
        >>> spec = NetworkSpec(tensors=(TensorSpec(name="w", shape=(2,), role="weight", axes=axes, layer=0),))
        >>> layer_errors(torch.tensor([[0.0, 0.0], [2.0, 2.0]]), torch.ones(2, 2), spec)
        tensor([1.], dtype=torch.float64)
    """
    squares = (true.double() - rebuilt.double()).square().sum(0)
    spread = (true.double() - true.double().mean(0)).square().sum(0)
    found = []
    for layer in spec.layers:
        places = [spec.slices[spec.tensors[index].name] for index in layer]
        total = sum(float(spread[place].sum()) for place in places)
        found.append(sum(float(squares[place].sum()) for place in places) / max(total, 1e-30))
    return torch.tensor(found, dtype=torch.float64)


def _records(there: Stage, method: str, kind: Kind, numbers: dict[str, float], seed: int) -> list[Record]:
    about = {"method": method, "kind": kind, "n": len(there.test), **there.about("layerwise", seed)}
    return [Record.build({**about, "metric": metric, "value": value}) for metric, value in numbers.items()]
