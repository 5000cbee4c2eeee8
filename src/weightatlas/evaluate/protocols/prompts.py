"""Few-shot prompts: new networks of another task or architecture from a few briefly trained ones."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.carried import carry_over
from weightatlas.encoders.sane import Sane
from weightatlas.errors import ConfigError
from weightatlas.evaluate.exam import exam_of
from weightatlas.evaluate.protocols.downstream import imitators, tuned, unseen
from weightatlas.evaluate.protocols.generation import anchors_of
from weightatlas.evaluate.protocols.losses import Training, trained
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.latent.refine import RefineConfig
from weightatlas.latent.sample import noise_around
from weightatlas.latent.select import subsample
from weightatlas.networks import create_network
from weightatlas.population.forward import Population
from weightatlas.population.recalibrate import recalibrate, with_valid_variances
from weightatlas.population.train import TrainConfig, train
from weightatlas.results import Kind, Record
from weightatlas.runtime import generator_of, key_of
from weightatlas.symmetry.verify import spec_of
from weightatlas.tasks import Task, create_task
from weightatlas.weights.batch import batch_of, weights_of
from weightatlas.weights.spec import NetworkSpec

OURS = "imitation"


class Case(Config):
    """What is wanted.

    Args:
        network: Architecture, a name from `networks.names()`.
        network_options: Its options; channels, image size and classes follow from the task.
        task: Another task; none keeps the zoo's.
        options: Options of that task.
    """

    network: str
    network_options: dict[str, Any] = Field(default_factory=dict)
    task: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class PromptsConfig(Training):
    """Settings of `bench prompts`.

    Args:
        cases: Name in the table -> what is wanted.
        prompts: Networks that are given.
        prompt_epochs: Epochs they were trained for.
        count: Networks per method.
        steps: Steps of imitation on unlabelled training images.
        epochs: Epochs of fine-tuning at which networks are judged.
        lr: Learning rate of prompts and of fine-tuning, the same for every method.
    """

    cases: dict[str, Case]
    prompts: int = Field(ge=2)
    prompt_epochs: int = Field(ge=1)
    count: int = Field(ge=2)
    steps: int = Field(ge=1)
    epochs: tuple[int, ...]
    lr: float = 1e-3


class Place:
    """One case: its task, its architecture, and the prompts.

    Args:
        there: The zoo that is known.
        case: What is wanted.
    """

    def __init__(self, there: Stage, case: Case) -> None:
        self.task: Task = there.task if case.task is None else create_task(case.task, **case.options)
        channels, side, _ = self.task.input_shape
        options = {"channels_in": channels, "image_size": side, "classes": self.task.classes}
        self.network: nn.Module = create_network(case.network, **options, **case.network_options)
        self.spec: NetworkSpec = spec_of(self.network, self.task.input_shape)
        self.population = Population(self.network, self.spec)
        self.pool: Tensor = self.task.split("train")[0]

    def trained(self, count: int, epochs: int, lr: float, seed: int) -> Float[Tensor, "count params"]:
        """Train a few networks of the case from scratch."""
        runs = [TrainConfig(key=key_of("prompt", seed, i), lr=lr) for i in range(count)]
        data = {"train": self.task.split("train")}
        (last,) = train(self.network, self.spec, data, runs, epochs, (epochs,))
        return last.weights

    def ready(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks params"]:
        """Estimate running statistics anew from unlabelled images, where there are any."""
        return with_valid_variances(self.spec, recalibrate(self.network, self.spec, values, self.pool))


cards["prompts"] = Card(
    "networks of another architecture or task generated from five briefly trained prompts",
    "digits",
    {"smoke": 0.4, "laptop": None, "paper": None},
    ("accuracy after 0", "accuracy after 1", "accuracy after 5", "accuracy after 25"),
    settings=PromptsConfig,
)


@benches.register("prompts")
def prompts(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Generate wider networks, residual ones with batch norm, and networks of another data set from prompts.

    SANE, trained on the zoo alone, codes the prompts, draws around them and keeps the best fifth on
    validation images. Imitation answers like mixtures of the prompts, or, where only the architecture
    changes, of the zoo's anchors. Baselines: the prompts themselves, noise around them, fresh networks that
    imitate the same mixtures, and fresh ones. All get running statistics estimated from the same
    unlabelled images.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of prompts, draws and training.
        cache: Folder of zoos and encoders; beside `out` by default.
        changes: Settings that differ from `presets/benches/prompts.yaml`.

    Raises:
        DataError: $WEIGHTATLAS_DATA is not set or lacks the data of a case.
    """
    settings = settings_of("prompts", tier, PromptsConfig, changes)
    units = [
        Unit(f"{name}: prompts", seed, partial(records_of, name=name, seed=seed, settings=settings))
        for seed in seeds
        for name in settings.cases
    ]
    return run_units("prompts", tier, out, settings.recipe, units, (), cache)


def records_of(there: Stage, name: str, seed: int, settings: PromptsConfig) -> list[Record]:
    """Train the prompts of one case, make the networks of every method, and fine-tune them."""
    place = there.once(("place", name), lambda: Place(there, settings.cases[name]))
    given = place.trained(settings.prompts, settings.prompt_epochs, settings.lr, seed)
    found = []
    for method, (kind, start) in sets_of(there, place, given, seed, settings).items():
        ready = start if method == "from scratch" else place.ready(start)
        arguments = (place.network, place.spec, place.task, ready, settings.epochs, settings.lr, seed)
        about = {"method": f"{name}: {method}", "kind": kind, "n": len(start)}
        about |= there.about("prompts", seed)
        numbers = tuned(*arguments)
        found += [Record.build({**about, "metric": m, "value": v}) for m, v in numbers.items()]
    return found


def sets_of(
    there: Stage, place: Place, given: Float[Tensor, "prompts params"], seed: int, settings: PromptsConfig
) -> dict[str, tuple[Kind, Tensor]]:
    """Make the networks of every method from the prompts."""
    count, config = settings.count, RefineConfig(steps=settings.steps, seed=seed)
    sets: dict[str, tuple[Kind, Tensor]] = {
        "SANE around prompts": ("ours", drawn(there, place, given, seed, settings)),
        "prompts": ("baseline", given),
        "noise 0.1 around prompts": (
            "baseline",
            noise_around(given, count, generator_of("noise", seed), place.spec, 0.1),
        ),
        "from scratch": ("baseline", unseen(place.spec, count, seed, "kaiming_uniform")),
    }
    teachers = {"prompts": place.population.outputs_no_grad(given, place.pool)}
    if place.task is there.task:
        anchors = anchors_of(there, 0.3)[:64].to(place.pool.device)
        teachers["the zoo's anchors"] = there.population.outputs_no_grad(anchors, place.pool)
    for name, outputs in teachers.items():
        source = generator_of("prompts", name, seed)
        ours, fresh = imitators(
            *(place.population, given, outputs, place.pool, count, source, config), ready=place.ready
        )
        sets[f"{OURS} of {name}, near prompts"] = ("ours", ours)
        sets[f"fresh networks that imitate {name}"] = ("baseline", fresh)
    return sets


def drawn(
    there: Stage, place: Place, given: Float[Tensor, "prompts params"], seed: int, settings: PromptsConfig
) -> Float[Tensor, "count params"]:
    """Draw networks around the coded prompts and keep the best on validation images (SUB).

    Raises:
        ConfigError: The preset is of another encoder.
    """
    known = trained(there, "SB", seed, settings)
    if not isinstance(known, Sane):
        raise ConfigError(f"The preset '{settings.preset}' makes no SANE.")
    encoder = carry_over(known.to(given.device), place.spec, batch_of(given, place.spec))
    with torch.no_grad():
        codes = encoder.encode(weights_of(given, place.spec)).codes
    exam = exam_of(place.population, *place.task.split("val"))

    def score(values: Tensor) -> Tensor:
        return exam.accuracy(exam.classes(place.ready(values)))

    source = generator_of("SANE around prompts", seed)
    return subsample(encoder, codes, place.spec, settings.count, source, score, "kde_joint")[0]
