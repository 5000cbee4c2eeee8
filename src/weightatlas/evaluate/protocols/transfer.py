"""Transfer: networks of one task fine-tuned on another, generated ones beside those of the zoo."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.downstream import (
    FRESH,
    OURS,
    best_of_lineages,
    imitators,
    tuned,
    unseen,
)
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.latent.imitate import wider_pool
from weightatlas.latent.refine import RefineConfig
from weightatlas.latent.sample import noise_around
from weightatlas.networks import create_network
from weightatlas.population.transplant import transplant
from weightatlas.results import Kind, Record
from weightatlas.runtime import generator_of, key_of
from weightatlas.symmetry.verify import spec_of
from weightatlas.tasks import Task, create_task
from weightatlas.weights.spec import NetworkSpec

SCRATCH = "from scratch"


class Target(Config):
    """Where networks are carried to.

    Args:
        task: Name of a task of the zoo's image shape.
        options: Its options.
        head: "keep" the last layer, or draw a "new" one of as many classes as the task has.
    """

    task: str
    options: dict[str, Any] = Field(default_factory=dict)
    head: Literal["keep", "new"] = "new"


class TransferConfig(Config):
    """Settings of `bench transfer`.

    Args:
        recipe: Zoo that is known.
        targets: Name in the table -> where its networks are carried to.
        until: Last epoch of the checkpoints that may be seen.
        anchors: Share of the training lineages that serve as anchors, best by validation accuracy.
        count: Networks per method.
        steps: Steps of imitation, on unlabelled images of the zoo's own task.
        wider: Size of the wider pool of images, in multiples of the training images.
        epochs: Epochs of fine-tuning at which networks are judged.
        lr: Learning rate of fine-tuning, the same for every method.
    """

    recipe: str = "digits"
    targets: dict[str, Target]
    until: int
    anchors: float = Field(default=0.3, gt=0, le=1)
    count: int = Field(ge=2)
    steps: int = Field(ge=1)
    wider: int = Field(default=4, ge=1)
    epochs: tuple[int, ...]
    lr: float = 1e-3


cards["transfer"] = Card(
    "generated networks fine-tuned on another data set beside zoo networks and scratch (needs "
    "$WEIGHTATLAS_DATA at laptop tier)",
    "digits",
    {"smoke": 0.2, "laptop": None, "paper": None},
    ("accuracy after 0", "accuracy after 1", "accuracy after 5", "accuracy after 25"),
    settings=TransferConfig,
)


@benches.register("transfer")
def transfer(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Carry networks of the zoo's task to other tasks and fine-tune them for equally many epochs.

    Generated networks and fresh imitators know images and anchors of the zoo's own task alone. "keep" carries
    the last layer over too, which makes sense between data sets of the same classes;
    otherwise each network gets a new one. Heads, data, batches, optimizer and rate are the same for
    all methods. The zoo's networks are the best of their lineages by validation accuracy on their own task.

    Args:
        tier: "smoke" (fewer classes of the same images), "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of draws, heads and the order of data.
        cache: Folder of zoos; beside `out` by default.
        changes: Settings that differ from `presets/benches/transfer.yaml`.

    Raises:
        DataError: $WEIGHTATLAS_DATA is not set or lacks a file.
    """
    settings = settings_of("transfer", tier, TransferConfig, changes)
    units = [
        Unit(f"{target}: {OURS}", seed, partial(records_of, target=target, seed=seed, settings=settings))
        for seed in seeds
        for target in settings.targets
    ]
    return run_units("transfer", tier, out, settings.recipe, units, (), cache)


def records_of(there: Stage, target: str, seed: int, settings: TransferConfig) -> list[Record]:
    """Fine-tune the networks of every method on one target."""
    chosen = settings.targets[target]
    task = create_task(chosen.task, **chosen.options)
    network, spec = carried(there, task)
    found = []
    key = ("starts", seed, settings.model_dump_json(exclude={"targets", "epochs", "lr"}))
    for method, (kind, start) in there.once(key, lambda: starts(there, seed, settings)).items():
        keys = torch.tensor([key_of("head", seed, i) for i in range(len(start))])
        keep = chosen.head == "keep"
        moved = transplant(start, there.spec, spec, keys, keep_head=keep)
        if method == SCRATCH:
            moved = unseen(spec, len(start), seed, "kaiming_uniform")
        about = {"method": f"{target}: {method}", "kind": kind, "n": len(start)}
        about |= there.about("transfer", seed)
        numbers = tuned(network, spec, task, moved, settings.epochs, settings.lr, seed)
        found += [Record.build({**about, "metric": m, "value": v}) for m, v in numbers.items()]
    return found


def carried(there: Stage, task: Task) -> tuple[nn.Module, NetworkSpec]:
    """Build the zoo's architecture for the classes of another task.

    Raises:
        ConfigError: The task's images have another shape, or the zoo's code is not in the registry.
    """
    if task.input_shape != there.task.input_shape:
        raise ConfigError(
            f"The task '{task.name}' has images of shape {task.input_shape}, the zoo's networks take "
            f"{there.task.input_shape}.",
            todo="Set image_size and grayscale in the target's options.",
        )
    record = there.zoo.header.networks.get(there.spec.function_id or "")
    if record is None:
        raise ConfigError(f"The networks of the zoo '{there.zoo.name}' are not built from the registry.")
    network = create_network(record.name, **{**record.options, "classes": task.classes})
    return network, spec_of(network, task.input_shape)


def starts(there: Stage, seed: int, settings: TransferConfig) -> dict[str, tuple[Kind, Tensor]]:
    """Make the networks of every method, in the zoo's own layout: method -> its kind and its networks."""
    count, pool = settings.count, there.pool.inputs
    anchors = best_of_lineages(there, settings.until, settings.anchors, count)
    config = RefineConfig(steps=settings.steps, seed=seed)
    sets: dict[str, tuple[Kind, Tensor]] = {
        "best zoo networks": ("baseline", anchors[:count]),
        "noise 0.1 around anchors": (
            "baseline",
            noise_around(anchors, count, generator_of("noise", seed), there.spec, 0.1),
        ),
        SCRATCH: ("baseline", unseen(there.spec, count, seed, "kaiming_uniform")),
    }
    wide = wider_pool(pool, settings.wider * len(pool), generator_of("wider pool", seed))
    for suffix, queries in (("", pool), (", wider pool", wide)):
        outputs = there.population.outputs_no_grad(anchors, queries)
        source = generator_of("transfer", seed)
        ours, fresh = imitators(there.population, anchors, outputs, queries, count, source, config)
        sets[OURS + suffix], sets[FRESH + suffix] = ("ours", ours), ("baseline", fresh)
    return sets
