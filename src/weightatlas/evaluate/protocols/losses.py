"""Which terms of the loss matter: the rows CS, B, CB, SB, CSB beside their baselines."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.base import Autoencoder, Encoder
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.sane import Sane
from weightatlas.errors import ConfigError
from weightatlas.evaluate.compression import mean_network, nearest_network
from weightatlas.evaluate.protocols.published import STRUCTURE
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.evaluate.reconstruction import compare, l2
from weightatlas.fit.config import FitConfig
from weightatlas.fit.loop import fit
from weightatlas.fit.presets import preset
from weightatlas.objectives.composite import recipe as loss_recipe
from weightatlas.predict.property import PropertyPredictor
from weightatlas.results import Kind, Record
from weightatlas.runtime import key_of
from weightatlas.weights.batch import Weights, weights_of
from weightatlas.weights.tokens import tokenize

PROPERTIES = {"test_acc": "test accuracy", "generalization_gap": "generalization gap"}
COLUMNS = (
    *("excess agreement", "agreement", "L2", "L2 unmasked"),
    *("R2 test accuracy", "R2 generalization gap"),
)


class Training(Config):
    """How the SANE encoder of a bench is trained.

    Args:
        recipe: Zoo: name of a recipe of the package, or path of a YAML file.
        preset: Encoder and training, from `presets/encoders`.
        passes: Passes over the training networks, the same for every row, so that records can be
            measured again; the clock decides nothing.
        engine: Engine that executes networks in training. A named one gives the same bits again;
            "auto" times its candidates.
    """

    recipe: str
    preset: str = "sane_small"
    passes: int = Field(ge=1)
    engine: str = "auto"


class LossesConfig(Training):
    """Settings of `bench losses`.

    Args:
        rows: Losses, see `objectives.composite.recipe`.
    """

    rows: tuple[str, ...] = ("CS", "B", "CB", "SB", "CSB")


cards["losses"] = Card(
    "which terms of the loss matter: CS, B, CB, SB, CSB beside trivial baselines",
    "digits",
    {"smoke": 0.4, "laptop": 25, "paper": None},
    COLUMNS,
    settings=LossesConfig,
)


@benches.register("losses")
def losses(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Train SANE with five losses and measure reconstruction and prediction, as Tables 4 and 6 do.

    Wall time on two cores for three seeds, zoo included: smoke under half a minute, laptop about 25
    minutes (15 trainings of 45 to 90 s). Baselines do not depend on the seed and are measured once.

    Args:
        tier: "smoke", "laptop" or "paper" (the published sizes, for a GPU).
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and encoders; beside `out` by default.
        changes: Settings that differ from `presets/benches/losses.yaml`.
    """
    settings = settings_of("losses", tier, LossesConfig, changes)
    units = [
        Unit("best training network", 0, trivial_records),
        Unit("layer statistics + ridge", 0, partial(floor_records, head="ridge")),
        Unit("layer statistics + boosting", 0, partial(floor_records, head="boosting")),
        Unit("PCA, same code size", 0, partial(pca_records, settings=settings)),
        *(
            Unit(row, seed, partial(row_records, row=row, seed=seed, settings=settings))
            for seed in seeds
            for row in settings.rows
        ),
    ]
    published = [r.replace(bench="losses") for r in STRUCTURE if r.metric in COLUMNS]
    return run_units("losses", tier, out, settings.recipe, units, published, cache)


def row_records(there: Stage, row: str, seed: int, settings: Training) -> list[Record]:
    """Train one row with one seed and judge it."""
    encoder = trained(there, row, seed, settings)
    return [
        *rebuilt_records(there, encoder, row, "ours", seed),
        *property_records(there, encoder, "ridge", row, "ours", seed),
    ]


def pca_records(there: Stage, settings: Training) -> list[Record]:
    """Judge the linear code of the same size: where training starts."""
    encoder, name = pca_encoder(there, settings), "PCA, same code size"
    return [
        *rebuilt_records(there, encoder, name, "baseline"),
        *property_records(there, encoder, "ridge", name, "baseline"),
    ]


def floor_records(there: Stage, head: Literal["ridge", "boosting"]) -> list[Record]:
    """Predict properties from layer statistics."""
    return property_records(there, "layer_statistics", head, f"layer statistics + {head}", "baseline")


def trivial_records(there: Stage) -> list[Record]:
    """Rebuild every test network as the best, the mean or the nearest training network."""
    train, test = there.train_values, there.test_values
    sets = {
        "best training network": train[there.best].expand(len(test), -1),
        "mean network": mean_network(train, len(test)).weights,
        "nearest training network": nearest_network(test, train).weights,
    }
    about, records = there.about("losses"), []
    for name, rebuilt in sets.items():
        found = compare(there.exam, test, rebuilt, there.reference, there.test_outputs)
        records += found.records(name, "baseline", **about)
        records.append(_number(there, name, "baseline", "L2 unmasked", float(found.l2.mean()), 0))
    known = {record.method for record in records}
    return records + [r for r in there.reference.records(**about) if r.method not in known]


def rebuilt_records(
    there: Stage, encoder: Autoencoder, method: str, kind: Kind, seed: int = 0
) -> list[Record]:
    """Rebuild the test networks and judge them on the test images."""
    rebuilt, unmasked = rebuild(encoder, there.weights("test"))
    found = compare(there.exam, there.test_values, rebuilt, there.reference, there.test_outputs)
    numbers = {
        "L2 unmasked": float(unmasked.double().mean()),
        "parameters per code number": there.spec.params / encoder.code_numbers(there.spec),
    }
    return [
        *found.records(method, kind, **there.about("losses", seed)),
        *(_number(there, method, kind, metric, value, seed) for metric, value in numbers.items()),
    ]


@torch.no_grad()
def rebuild(
    encoder: Autoencoder, weights: Weights, chunk: int = 256
) -> tuple[Float[Tensor, "networks params"], Float[Tensor, " networks"]]:
    """Encode and decode; also return the distance of whole tokens as the paper prints it.

    The published distances count what the decoder writes into padding, where nothing constrains it.
    Padding is counted in the unit of its token, since the encoder standardizes and the published one
    does not. Encoders without padding have one distance.
    """
    values, far = [], []
    for part in weights.values.split(chunk):
        codes = encoder.encode(weights_of(part, weights.spec)).codes
        values.append(encoder.decode(codes, weights.spec).weights)
        extra = torch.zeros(len(part), dtype=torch.float64, device=part.device)
        if isinstance(encoder, Sane):
            plan = encoder.plan
            unit = tokenize(encoder.std[None], plan)[0].sum(1) / plan.mask.sum(1)
            stray = encoder.decode_tokens(codes) * ~plan.mask * unit[:, None]
            extra = stray.double().square().sum((1, 2))
        far.append((l2(part, values[-1]).double().square() + extra).sqrt().float())
    return torch.cat(values), torch.cat(far)


def property_records(
    there: Stage,
    source: Encoder | str,
    head: Literal["ridge", "boosting"],
    method: str,
    kind: Kind,
    seed: int = 0,
) -> list[Record]:
    """Predict accuracy and generalization gap of the test networks from their weights alone."""
    scores: dict[str, Callable[[PropertyPredictor], float]] = {
        "R2": lambda fitted: fitted.score(there.test, "r2"),
        "Kendall": lambda fitted: fitted.score(there.test, "kendall"),
        "MAE": lambda fitted: fitted.score(there.test, "mae"),
    }
    records = []
    for label, name in PROPERTIES.items():
        fitted = PropertyPredictor(source, head, seed=seed).fit(there.train, label, there.val)
        for metric, score in scores.items():
            records.append(_number(there, method, kind, f"{metric} {name}", score(fitted), seed))
    return records


def trained(there: Stage, row: str, seed: int, settings: Training) -> Autoencoder:
    """Train the encoder of a row, or read it back; an interrupted training continues.

    Raises:
        ConfigError: The preset's encoder cannot decode.
    """
    encoder, config = training_of(there, row, seed, settings)
    mark = f"{key_of(config.identity, settings.preset, encoder.config) & 0xFFFF_FFFF:08x}"
    folder = there.cache / "runs" / f"{there.name}-{there.tier}-{row}-seed{seed}-{mark}"
    population = there.zoo.population(engine=settings.engine)
    fit(encoder, there.train, config, folder, queries=there.pool, population=population)
    return encoder


def training_of(there: Stage, row: str, seed: int, settings: Training) -> tuple[Autoencoder, FitConfig]:
    """Make the encoder of a row and the settings of its training: first-value normalization."""
    chosen = preset(settings.preset)
    encoder = create_encoder(chosen.encoder, there.spec, seed, **chosen.settings)
    if not isinstance(encoder, Autoencoder):
        raise ConfigError(
            f"The preset '{settings.preset}' is of the encoder '{encoder.name}', which cannot decode."
        )
    loss = chosen.fit.loss.model_dump(exclude={"gamma", "beta", "normalize"})
    changes = {
        "passes": settings.passes,
        "loss": loss_recipe(row, normalize="first", **loss),
        "seed": seed,
        "validate_every": 0,
        "device": str(there.device),
    }
    return encoder, chosen.fit.replace(**changes)


def pca_encoder(there: Stage, settings: Training) -> Autoencoder:
    """Fit the linear code with as many numbers per token as the SANE encoder has."""
    chosen = preset(settings.preset).settings
    sizes = {"latent": chosen["latent"], "token_width": chosen.get("token_width")}
    encoder: Any = create_encoder("pca", there.spec, **sizes).to(there.device)
    encoder.adapt(there.train)
    return encoder.eval()


def _number(there: Stage, method: str, kind: Kind, metric: str, value: float, seed: int) -> Record:
    about = {"method": method, "kind": kind, "metric": metric, "value": value, "n": len(there.test)}
    return Record.build({**about, **there.about("losses", seed)})
