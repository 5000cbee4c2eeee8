"""Which frequency does this network represent? Encoders trained end to end beside trivial baselines."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.base import Encoder
from weightatlas.encoders.heads import HeadConfig
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.inr_methods import METHODS, TINY
from weightatlas.evaluate.protocols.published_inr import PUBLISHED
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_on, settings_of
from weightatlas.evaluate.protocols.stage import cache_of
from weightatlas.fit.presets import preset
from weightatlas.objectives.invariance import invariance_distance
from weightatlas.predict import metrics
from weightatlas.predict.finetune import Finetuned, Finetuning, finetune
from weightatlas.predict.property import PropertyPredictor
from weightatlas.predict.ridge import fit_ridge
from weightatlas.results import Kind, Record
from weightatlas.runtime import generator_of, key_of, pick_device
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.tasks.signals import SineConfig
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec
from weightatlas.zoo.signals import SineRecipe, populate_sines

PROPERTY = "frequency"
COLUMNS = ("MSE", "R2", "Kendall tau", "MAE", "LI", "parameters")
PARTS = ("train", "val", "test")


class InrConfig(Config):
    """Settings of `bench inr_frequency`.

    Args:
        count: Networks; 70 % are trained on.
        steps: Steps of each network's own fit.
        points: Places at which a sine is given.
        omega: Frequency of the networks' sine layers. With 30 the first weights already span all wanted
            frequencies, and what is learned hardly shows in any statistic; with 10 they must grow.
        passes: Passes over the training networks, the same for every encoder.
        batch: Networks per step.
        methods: Names of `METHODS`; all by default.
        small: Tiny encoders, to try the bench out; their numbers mean nothing.
    """

    count: int = Field(ge=20)
    steps: int = Field(ge=1)
    points: int = 128
    omega: float = 10.0
    passes: int = Field(ge=1)
    batch: int = Field(default=64, ge=1)
    methods: tuple[str, ...] = tuple(METHODS)
    small: bool = False


@dataclass(frozen=True, slots=True)
class SineStage:
    """Sine networks in three parts of independent networks.

    Args:
        tier: Size.
        name: Name of the zoo in records.
        parts: Part -> networks with their frequency.
        cache: Folder of runs.
        device: Where encoders are trained.
    """

    tier: str
    name: str
    parts: dict[str, Batch]
    cache: Path
    device: torch.device

    @property
    def spec(self) -> NetworkSpec:
        """Layout of the networks."""
        return self.parts["train"].groups[0].spec

    def table(self, part: str) -> tuple[Float[Tensor, "networks params"], Float[Tensor, " networks"]]:
        """Weights and frequencies of a part, in the caller's order."""
        batch = self.parts[part]
        return batch.join([group.values for group in batch]), batch.labels[PROPERTY].double()


cards["inr_frequency"] = Card(
    "frequency of the sine a small network represents: SNE and other encoders beside trivial baselines",
    "sines",
    {"smoke": 0.5, "laptop": None, "paper": None},
    COLUMNS,
    settings=InrConfig,
)


@benches.register("inr_frequency")
def inr_frequency(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Train encoders to read the frequency of a sine from the weights of a SIREN 1-32-32-1.

    Every network has first weights of its own. The state with the smallest validation error is judged,
    on networks that were neither trained nor validated on. LI is half the mean squared distance of a
    network's predicted frequency and that of five permuted copies.

    Args:
        tier: "smoke", "laptop" or "paper" (the published sizes, for a GPU).
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and runs; beside `out` by default.
        changes: Settings that differ from `presets/benches/inr_frequency.yaml`.
    """
    settings = settings_of("inr_frequency", tier, InrConfig, changes)
    unknown = [name for name in settings.methods if name not in METHODS]
    if unknown:
        raise ConfigError(f"There is no method '{unknown[0]}'.", todo=f"Known: {', '.join(METHODS)}.")
    units = [
        Unit("mean predictor", 0, mean_records),
        Unit("spectral norms + ridge", 0, spectral_records),
        Unit("layer statistics + ridge", 0, partial(statistics_records, head="ridge")),
        Unit("layer statistics + boosting", 0, partial(statistics_records, head="boosting")),
        *(
            Unit(name, seed, partial(encoder_records, name=name, seed=seed, settings=settings))
            for seed in seeds
            for name in settings.methods
        ),
    ]
    place, zoo = cache or cache_of(out), name_of(settings)
    return run_on(
        "inr_frequency", tier, out, zoo, units, partial(sine_stage, settings, tier, place), PUBLISHED
    )


def name_of(settings: InrConfig) -> str:
    """Name of the zoo in records."""
    return f"sines-omega{settings.omega:g}"


def sine_stage(settings: InrConfig, tier: str, cache: Path) -> SineStage:
    """Fit the networks, or reopen their zoo."""
    recipe = SineRecipe(
        count=settings.count,
        steps=settings.steps,
        omega=settings.omega,
        signals=SineConfig(points=settings.points),
    )
    zoo = populate_sines(recipe, cache / "zoos" / f"{name_of(settings)}-{tier}")
    parts = {name: zoo.split(name).batch(labels=(PROPERTY,)) for name in PARTS}  # type: ignore[arg-type]
    return SineStage(tier, name_of(settings), parts, cache, pick_device("auto"))


def mean_records(there: SineStage, bench: str = "inr_frequency") -> list[Record]:
    """Predict the mean of the training networks for everyone."""
    true = there.table("test")[1]
    mean = there.table("train")[1].mean().expand(len(true))
    return judged(there, "mean predictor", "baseline", mean, 0, bench=bench)


def spectral_records(there: SineStage) -> list[Record]:
    """Predict from the spectral norm of every matrix: how fast a network can vary."""
    tables = {
        part: (spectral_norms(there.table(part)[0], there.spec), there.table(part)[1]) for part in PARTS
    }
    train, val = ((x, y[:, None]) for x, y in (tables["train"], tables["val"]))
    predicted = fit_ridge(*train, validation=val).predict(tables["test"][0])[:, 0]
    return judged(there, "spectral norms + ridge", "baseline", predicted, 0)


def spectral_norms(
    values: Float[Tensor, "networks params"], spec: NetworkSpec
) -> Float[Tensor, "networks features"]:
    """Largest singular value of every weight matrix and its logarithm, and of their product."""
    matrices = [tensor for tensor in spec.tensors if tensor.role == "weight"]
    norms = [
        torch.linalg.matrix_norm(values[:, spec.slices[t.name]].view(len(values), t.rows, -1), ord=2)
        for t in matrices
    ]
    found = torch.stack(norms, dim=1)
    logs = found.clamp(min=1e-12).log()
    return torch.cat([found, logs, logs.sum(1, keepdim=True).exp()], dim=1)


def statistics_records(there: SineStage, head: Literal["ridge", "boosting"]) -> list[Record]:
    """Predict from layer statistics."""
    predictor = PropertyPredictor("layer_statistics", head)
    predictor.fit(there.parts["train"], PROPERTY, there.parts["val"])
    predicted = predictor.predict(there.parts["test"])
    return judged(there, f"layer statistics + {head}", "baseline", predicted, 0)


def encoder_records(there: SineStage, name: str, seed: int, settings: InrConfig) -> list[Record]:
    """Train one encoder with one seed and judge it; an interrupted training continues."""
    return trained_records(there, name, *training_of(there, name, seed, settings), seed)


def trained_records(
    there: SineStage,
    name: str,
    encoder: Encoder,
    tuning: Finetuning,
    seed: int,
    bench: str = "inr_frequency",
) -> list[Record]:
    """Train an encoder and judge it.

    Args:
        there: Networks.
        name: Of the method.
        encoder: Where training starts.
        tuning: Settings of the training.
        seed: Of the training.
        bench: Name in the records.
    """
    count = len(there.parts["train"])
    mark = f"{key_of(tuning.model_dump_json(), encoder.config, count) & 0xFFFF_FFFF:08x}"
    folder = there.cache / "runs" / f"{there.name}-{there.tier}-{name.replace(' ', '_')}-seed{seed}-{mark}"
    given = there.parts["train"], [PROPERTY], tuning, there.parts["val"]
    found = finetune(encoder, *given, folder, seed)
    head = found.loss.head
    numbers = sum(p.numel() for part in (found.encoder, head) if part is not None for p in part.parameters())
    more = {"LI": logit_invariance(found, there.parts["test"], seed), "parameters": float(numbers)}
    return judged(there, name, "ours", found.predict(there.parts["test"])[:, 0], seed, more, bench)


def training_of(there: SineStage, name: str, seed: int, settings: InrConfig) -> tuple[Encoder, Finetuning]:
    """Make an encoder and the settings of its training; the head is SNE's: 32 numbers, then 512."""
    entry = METHODS[name]
    chosen = None if entry.preset is None else preset(entry.preset)
    sizes = {} if chosen is None else dict(chosen.settings)
    if settings.small:
        sizes |= TINY.get(entry.encoder, {})
    encoder = create_encoder(entry.encoder, there.spec, seed, **sizes)
    rates = {} if chosen is None else chosen.fit.model_dump(include={"lr", "weight_decay", "clip"})
    return encoder, tuning_of(there, settings, seed, entry.invariance, rates)


def tuning_of(
    there: SineStage, settings: InrConfig, seed: int, invariance: float, rates: dict[str, Any]
) -> Finetuning:
    """Settings of a training to read the frequency; `rates` hold learning rate and such if they differ."""
    training = {
        "weight_decay": 0.0,
        "passes": settings.passes,
        "batch": settings.batch,
        "seed": seed,
        "schedule": "cosine",
        "warmup": 0.05,
        "device": str(there.device),
        **rates,
    }
    tuning = Finetuning(head=HeadConfig(code=32, hidden=(512,)), invariance=invariance)
    return tuning.replace(kinds={PROPERTY: "real"}, select="val/property", fit=training)


def logit_invariance(found: Finetuned, networks: Batch, seed: int, copies: int = 5) -> float:
    """Half the mean squared distance of predictions for a network and its permuted copies."""
    group = networks.groups[0]
    plain, generator = found.predict(networks), generator_of("LI", seed)
    total = 0.0
    for _ in range(copies):
        moved = permute(group.values, sample(group.spec, len(group), generator), group.spec)
        other = found.predict(Batch((Weights(moved, group.spec, group.rows),)))
        total += float(invariance_distance(plain, other).mean())
    return total / copies


def judged(
    there: SineStage,
    method: str,
    kind: Kind,
    predicted: Float[Tensor, " networks"],
    seed: int,
    more: dict[str, float] | None = None,
    bench: str = "inr_frequency",
) -> list[Record]:
    """Compare predictions for the test networks with their frequencies."""
    true = there.table("test")[1]
    numbers = {
        "MSE": float((predicted.double() - true).square().mean()),
        "R2": metrics.r2(predicted, true, PROPERTY),
        "Kendall tau": metrics.kendall(predicted, true, PROPERTY),
        "MAE": metrics.mae(predicted, true, PROPERTY),
        **(more or {}),
    }
    about = {"bench": bench, "tier": there.tier, "zoo": there.name, "method": method, "kind": kind}
    return [
        Record.build({**about, "metric": name, "value": value, "n": len(true), "seeds": (seed,)})
        for name, value in numbers.items()
    ]
