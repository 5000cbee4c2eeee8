"""New networks near good ones: accuracy, variety and novelty beside averages, noise and copies."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from weightatlas.encoders.base import Autoencoder
from weightatlas.errors import ConfigError
from weightatlas.evaluate.distances import aligned
from weightatlas.evaluate.generation import judge_generated, trivial_sets
from weightatlas.evaluate.novelty import novelty
from weightatlas.evaluate.protocols.losses import Training, pca_encoder, trained
from weightatlas.evaluate.protocols.published import STRUCTURE
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.latent.charts import free_chart
from weightatlas.latent.imitate import imitations, wider_pool
from weightatlas.latent.refine import RefineConfig, refine
from weightatlas.latent.sample import choose_anchors, generate
from weightatlas.population.initialize import initialize
from weightatlas.results import Record
from weightatlas.runtime import generator_of, key_of
from weightatlas.weights.batch import weights_of

COLUMNS = (
    *("best accuracy", "median accuracy", "disagreement", "weight diversity"),
    *("nearest training network", "good", "good and new at 1x", "accuracy of nearest"),
)
ORDERS = ("as trained", "aligned")


class GenerationConfig(Training):
    """Settings of `bench generation`.

    Args:
        encoders: "sane" (trained, row CSB), "pca" (same code size), "activation".
        methods: How codes are drawn, see `latent.sample.sample`.
        anchors: Share of the training networks that serve as anchors, best by validation accuracy.
        count: New networks per method.
        sigmas: Noise around anchors at which imitators of mixtures start, beside fresh starts.
        steps: Steps of imitation, and of the baseline that learns labels.
        wider: Images that are imitated, in multiples of the training images, see `wider_pool`.
    """

    encoders: tuple[str, ...] = ("sane", "pca", "activation")
    methods: tuple[str, ...] = ("pca_kde",)
    sigmas: tuple[float, ...] = (0.4, 0.8, 1.2)
    steps: int = Field(default=600, ge=1)
    wider: int = Field(default=4, ge=1)
    anchors: float = Field(default=0.3, gt=0, le=1)
    count: int = Field(default=64, ge=2)


cards["generation"] = Card(
    "new networks near good ones beside averaged anchors, noise and nearest neighbors",
    "digits",
    {"smoke": 0.2, "laptop": 20, "paper": None},
    COLUMNS,
    settings=GenerationConfig,
)


@benches.register("generation")
def generation(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Draw new networks with several encoders and judge them beside trivial ones.

    Every encoder codes the same anchors twice: as they were trained, and in the neuron order of the best
    of them, which alone makes averages of codes meaningful. Anchors are chosen by validation accuracy
    among training networks; test images only judge.

    Networks that imitate start at noise around anchors, or fresh, and learn what mixtures of anchors answer
    to unlabelled images; beside them fresh networks learn the labels for as many steps.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of training and of the draws.
        cache: Folder of zoos and encoders; beside `out` by default.
        changes: Settings that differ from `presets/benches/generation.yaml`.
    """
    settings = settings_of("generation", tier, GenerationConfig, changes)
    unknown = [name for name in settings.encoders if name not in _ENCODERS]
    if unknown:
        raise ConfigError(f"There is no encoder '{unknown[0]}' here.", todo=f"Known: {', '.join(_ENCODERS)}.")
    units = []
    for seed in seeds:
        units.append(Unit("anchors", seed, partial(trivial_records, seed=seed, settings=settings)))
        for name in settings.encoders:
            first = _label(name, settings.methods[0], ORDERS[0])
            work = partial(encoder_records, name=name, seed=seed, settings=settings)
            units.append(Unit(first, seed, work))
        for sigma in (None, *settings.sigmas):
            work = partial(imitation_records, sigma=sigma, seed=seed, settings=settings)
            units.append(Unit(_start_of(sigma), seed, work))
    published = [r.replace(bench="generation") for r in STRUCTURE if r.metric in COLUMNS]
    return run_units("generation", tier, out, settings.recipe, units, published, cache)


def trivial_records(there: Stage, seed: int, settings: GenerationConfig) -> list[Record]:
    """Judge anchors, averaged anchors and noise around anchors."""
    generator = generator_of("trivial", seed)
    anchors = anchors_of(there, settings.anchors)
    sets = trivial_sets(anchors, settings.count, generator, there.spec)
    return judged(
        there,
        {name: part for name, part in sets.items() if len(part) > 1},
        seed,
        tuple(sets),
        settings.anchors,
    )


def encoder_records(there: Stage, name: str, seed: int, settings: GenerationConfig) -> list[Record]:
    """Draw new networks with one encoder; those of its first method also stand beside copies.

    The copies are the nearest training network of each new one, in the aligned order.
    """
    encoder = _ENCODERS[name](there, seed, settings)
    anchors = anchors_of(there, settings.anchors)
    views = (anchors, aligned(anchors, anchors[0], there.spec))
    sets: dict[str, Float[Tensor, "_ params"]] = {}
    for order, values in zip(ORDERS, views, strict=True):
        codes = codes_of(encoder, values, there)
        for method in settings.methods:
            generator = generator_of("generation", name, method, order, seed)
            made = generate(encoder, codes, there.spec, settings.count, generator, method)
            sets[_label(name, method, order)] = made
    rival = f"nearest training networks to {name}"
    copies = nearest_of(there, sets[_label(name, settings.methods[0], ORDERS[1])])
    return judged(there, {**sets, rival: copies}, seed, (rival,), settings.anchors)


def imitation_records(
    there: Stage, sigma: float | None, seed: int, settings: GenerationConfig
) -> list[Record]:
    """Make networks that imitate anchors on unlabelled images; fresh ones learn labels as long beside."""
    anchors = anchors_of(there, settings.anchors)
    config = RefineConfig(steps=settings.steps, seed=seed)
    pool, outputs = there.once(("lessons", seed), lambda: _lessons(there, anchors, seed, settings))
    made = imitations(
        *(anchors, there.spec, there.population, pool, settings.count),
        *(generator_of("imitation", sigma, seed), sigma),
        config=config,
        outputs=outputs,
    )
    sets, rivals = {_start_of(sigma): made}, []
    if sigma is None:
        rivals = ["fresh networks that learn labels"]
        sets[rivals[0]] = taught(there, seed, settings)
    return judged(there, sets, seed, rivals, settings.anchors)


def _lessons(
    there: Stage, anchors: Tensor, seed: int, settings: GenerationConfig
) -> tuple[Tensor, Float[Tensor, "anchors queries classes"]]:
    """Unlabelled images and what anchors answer."""
    known = there.pool.inputs
    pool = wider_pool(known, settings.wider * len(known), generator_of("wider pool", seed))
    return pool, there.population.outputs_no_grad(anchors, pool)


def taught(there: Stage, seed: int, settings: GenerationConfig) -> Float[Tensor, "count params"]:
    """Train fresh networks on the labels of the training images for as many steps.

    The best of three learning rates counts, chosen on validation images.
    """
    inputs, labels = (part.to(there.device) for part in there.task.split("train"))
    goal = 20.0 * one_hot(labels, there.task.classes).to(inputs)
    keys = torch.tensor([key_of("fresh", seed, i) for i in range(settings.count)])
    first = initialize(there.spec, keys, ["kaiming_normal"] * settings.count).to(inputs)
    exam, config = there.exam_on("val"), RefineConfig(steps=settings.steps, seed=seed)
    goals = goal.expand(settings.count, -1, -1)
    tried = [
        refine(free_chart(first, lr), there.population, goals, inputs, config).weights
        for lr in (3e-3, 1e-2, 3e-2)
    ]
    return max(tried, key=lambda made: float(exam.accuracy(exam.classes(made)).mean()))


def _start_of(sigma: float | None) -> str:
    return "imitation, fresh start" if sigma is None else f"imitation, noise {sigma:g}"


def anchors_of(there: Stage, share: float) -> Float[Tensor, "anchors params"]:
    """Return the best training networks by validation accuracy, best first."""
    return there.train_values[choose_anchors(there.train.labels["val_acc"], share).to(there.device)]


@torch.no_grad()
def codes_of(
    encoder: Autoencoder, values: Float[Tensor, "anchors params"], there: Stage, chunk: int = 256
) -> Float[Tensor, "anchors codes width"]:
    """Encode anchors, a chunk at a time."""
    return torch.cat([encoder.encode(weights_of(part, there.spec)).codes for part in values.split(chunk)])


def nearest_of(there: Stage, made: Float[Tensor, "count params"]) -> Float[Tensor, "count params"]:
    """Return the training network each new network is nearest to: what copying would give."""
    return there.train_values[there.surroundings.train.nearest(made)[1]]


def judged(
    there: Stage,
    sets: dict[str, Float[Tensor, "_ params"]],
    seed: int,
    baselines: Sequence[str],
    share: float,
) -> list[Record]:
    """Score sets of new networks on the test images, and count the good and new by validation images."""
    records: list[Record] = []
    found = judge_generated(sets, there.exam, there.train_values, there.surroundings, baselines)
    anchors = there.train.labels["val_acc"]
    anchors = anchors[choose_anchors(anchors, share)]
    exam = there.exam_on("val")
    for each in found:
        accuracy = exam.accuracy(exam.classes(sets[each.method]))
        far, unit = each.diversity.nearest, each.diversity.unit
        about = {"n": len(accuracy), **there.about("generation", seed)}
        records += each.records(**there.about("generation", seed))
        records += novelty(accuracy, far, unit, anchors).records(each.method, each.kind, **about)
    return records


def _label(name: str, method: str, order: str) -> str:
    return f"{name}, {method}" if order == ORDERS[0] else f"{name}, {method}, {order}"


def _activation(there: Stage, seed: int, settings: GenerationConfig) -> Autoencoder:
    from weightatlas.evaluate.protocols.autoencoders import activation_encoder

    return activation_encoder(there, seed=seed)


_ENCODERS = {
    "sane": lambda there, seed, settings: trained(there, "CSB", seed, settings),
    "pca": lambda there, seed, settings: pca_encoder(there, settings),
    "activation": _activation,
}
