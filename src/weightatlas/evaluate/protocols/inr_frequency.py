"""Which frequency does this network represent? Encoders trained end to end beside trivial baselines."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightatlas.encoders.base import Encoder
from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.inr_methods import METHODS
from weightatlas.evaluate.protocols.inr_stage import SignalStage, signal_stage
from weightatlas.evaluate.protocols.inr_training import (
    TrainingConfig,
    logit_invariance,
    parameters_of,
    trained,
    training_of,
)
from weightatlas.evaluate.protocols.published_inr import PUBLISHED
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, listed, run_on, settings_of
from weightatlas.evaluate.protocols.stage import cache_of
from weightatlas.predict import metrics
from weightatlas.predict.bootstrap import bootstrap
from weightatlas.predict.finetune import Finetuning
from weightatlas.predict.property import PropertyPredictor
from weightatlas.predict.ridge import fit_ridge
from weightatlas.results import Kind, Record
from weightatlas.tasks.signals import SineConfig
from weightatlas.weights.spec import NetworkSpec
from weightatlas.zoo.signals import SineRecipe, populate_sines

PROPERTY = "frequency"
COLUMNS = ("MSE", "MSE low", "MSE high", "R2", "Kendall tau", "MAE", "LI", "parameters")
COMMITTEE = "deep statistics + committee"
TOGETHER = "committee and SNE linked"
DRAWS = 500


class InrConfig(TrainingConfig):
    """Settings of `bench inr_frequency`.

    Args:
        count: Networks; 70 % are trained on.
        steps: Steps of each network's own fit.
        points: Places at which a sine is given.
        omega: Frequency of the networks' sine layers. With 30 the first weights already span all wanted
            frequencies, and what is learned hardly shows in any statistic; with 10 they must grow.
        passes: Passes over the training networks, the same for every encoder.
        batch: Networks per step.
        methods: Names of `METHODS`, "deep statistics + committee" (ours), and "committee and SNE linked", the
            mean of both predictions; all by default.
    """

    count: int = Field(ge=20)
    steps: int = Field(ge=1)
    points: int = 128
    omega: float = 10.0
    passes: int = Field(ge=1)
    batch: int = Field(default=64, ge=1)
    methods: tuple[str, ...] = (COMMITTEE, *METHODS, TOGETHER)


cards["inr_frequency"] = Card(
    "frequency of the sine a small network represents: SNE and other encoders beside trivial baselines",
    "sines",
    {"smoke": 0.5, "laptop": None, "paper": None},
    COLUMNS,
    settings=InrConfig,
    lists=("methods",),
)


@benches.register("inr_frequency")
def inr_frequency(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Train encoders to read the frequency of a sine from the weights of a SIREN 1-32-32-1.

    Every network has first weights of its own. The state with the smallest validation error is judged,
    on networks that were neither trained nor validated on. "MSE low" and "MSE high" bound its 95 % interval
    over test networks. LI is half the mean squared distance of a network's predicted frequency and that of
    five permuted copies. Encoders and heads have the published numbers of parameters.

    Args:
        tier: "smoke", "laptop" or "paper" (the published number of networks, for a GPU).
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and runs; beside `out` by default.
        changes: Settings that differ from `presets/benches/inr_frequency.yaml`.

    Raises:
        ConfigError: A method or a setting is unknown.
    """
    settings = settings_of("inr_frequency", tier, InrConfig, listed(changes, "methods"))
    known = (*METHODS, COMMITTEE, TOGETHER)
    unknown = [name for name in settings.methods if name not in known]
    if unknown:
        raise ConfigError(f"There is no method '{unknown[0]}'.", todo=f"Known: {', '.join(known)}.")
    units = [
        Unit("mean predictor", 0, mean_records),
        Unit("spectral norms + ridge", 0, spectral_records),
        Unit("layer statistics + ridge", 0, partial(statistics_records, head="ridge")),
        Unit("layer statistics + boosting", 0, partial(statistics_records, head="boosting")),
        *(
            Unit(name, seed, partial(method_records, name=name, seed=seed, settings=settings))
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


def sine_stage(settings: InrConfig, tier: str, cache: Path) -> SignalStage:
    """Fit the networks, or reopen their zoo."""
    recipe = SineRecipe(
        count=settings.count,
        steps=settings.steps,
        omega=settings.omega,
        signals=SineConfig(points=settings.points),
    )
    zoo = populate_sines(recipe, cache / "zoos" / f"{name_of(settings)}-{tier}")
    return signal_stage(zoo, name_of(settings), tier, cache, PROPERTY)


def mean_records(there: SignalStage, bench: str = "inr_frequency") -> list[Record]:
    """Predict the mean of the training networks for everyone."""
    mean = there.truth("train").mean().expand(len(there.parts["test"]))
    return judged(there, "mean predictor", "baseline", mean, 0, bench=bench)


def spectral_records(there: SignalStage) -> list[Record]:
    """Predict from the spectral norm of every matrix: how fast a network can vary."""
    tables = {
        part: (spectral_norms(there.table(part)[0], there.spec), there.truth(part)) for part in there.parts
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


def statistics_records(there: SignalStage, head: Literal["ridge", "boosting"]) -> list[Record]:
    """Predict from layer statistics."""
    predictor = PropertyPredictor("layer_statistics", head)
    predictor.fit(there.parts["train"], PROPERTY, there.parts["val"])
    predicted = predictor.predict(there.parts["test"])
    return judged(there, f"layer statistics + {head}", "baseline", predicted, 0)


def method_records(there: SignalStage, name: str, seed: int, settings: InrConfig) -> list[Record]:
    """Measure one of ours, or train an encoder and judge it; an interrupted training continues."""
    if name == COMMITTEE:
        return judged(there, name, "ours", committee(there, seed), seed)
    if name == TOGETHER:
        encoder, tuning = training_of(there, "SNE linked", seed, settings)
        linked = trained(there, "SNE linked", encoder, tuning, seed).predict(there.parts["test"])[:, 0]
        return judged(there, name, "ours", (committee(there, seed) + linked) / 2, seed)
    return trained_records(there, name, *training_of(there, name, seed, settings), seed)


def committee(there: SignalStage, seed: int) -> Float[Tensor, " networks"]:
    """Predict the test networks by a committee of heads on deep statistics."""
    predictor = PropertyPredictor("deep_statistics", "committee", seed=seed)
    return predictor.fit(there.parts["train"], PROPERTY, there.parts["val"]).predict(there.parts["test"])


def trained_records(
    there: SignalStage,
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
    found = trained(there, name, encoder, tuning, seed)
    numbers = float(parameters_of(found))
    more = {"LI": logit_invariance(found, there.parts["test"], seed), "parameters": numbers}
    return judged(there, name, "ours", found.predict(there.parts["test"])[:, 0], seed, more, bench)


def mse(predicted: Float[Tensor, " networks"], true: Float[Tensor, " networks"]) -> float:
    """Mean squared error."""
    return float((predicted.double() - true.double()).square().mean())


def judged(
    there: SignalStage,
    method: str,
    kind: Kind,
    predicted: Float[Tensor, " networks"],
    seed: int,
    more: dict[str, float] | None = None,
    bench: str = "inr_frequency",
) -> list[Record]:
    """Compare predictions for the test networks with the truth; the spread of the MSE is over networks."""
    true = there.truth("test")
    interval = bootstrap(mse, predicted.double().cpu(), true, draws=DRAWS)
    numbers = {
        "MSE": interval.value,
        "MSE low": interval.low,
        "MSE high": interval.high,
        "R2": metrics.r2(predicted, true, there.target),
        "Kendall tau": metrics.kendall(predicted, true, there.target),
        "MAE": metrics.mae(predicted, true, there.target),
        **(more or {}),
    }
    about = {"bench": bench, "tier": there.tier, "zoo": there.name, "method": method, "kind": kind}
    about |= {"n": len(true), "seeds": (seed,)}
    spread = {"MSE": interval.spread}
    return [
        Record.build({**about, "metric": name, "value": value, "spread": spread.get(name)})
        for name, value in numbers.items()
    ]
