"""The whole story on bundled data: train networks, learn their weights, predict, rebuild, generate."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.base import Autoencoder
from weightatlas.errors import ConfigError
from weightatlas.evaluate.diversity import surroundings
from weightatlas.evaluate.generation import Generation, judge_generated, trivial_sets
from weightatlas.evaluate.protocols.autoencoders import (
    activation_encoder,
    pca_encoder,
    sane_encoder,
    sparse_encoder,
)
from weightatlas.evaluate.protocols.downstream import imitators
from weightatlas.evaluate.protocols.rebuild import (
    NAMES,
    Rebuilt,
    Trial,
    rebuild,
    trial_of,
    trivial_charts,
)
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.evaluate.ranking import rank
from weightatlas.latent.charts import chart_of
from weightatlas.latent.refine import RefineConfig
from weightatlas.latent.sample import choose_anchors, generate
from weightatlas.latent.samplers import SampleConfig
from weightatlas.predict.property import PropertyPredictor
from weightatlas.progress import track
from weightatlas.results import Kind, Record, append_records, stamped
from weightatlas.runtime import generator_of
from weightatlas.weights.batch import weights_of
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import load_recipe

PROPERTIES = ("test_acc", "generalization_gap")
# What stands in large type on the page, named before anything is measured: the best on test networks would
# flatter whoever has most methods. All others stand in the tables.
SHOWN = {
    "rebuild": f"{NAMES['activation_sparse']}, refined",
    "predict": "activation + ridge",
    "generate": "noise that imitates anchors",
}


class Size(Config):
    """How much the quickstart does.

    Args:
        networks: Networks in the zoo.
        passes: Passes of SANE's training.
        rebuilt: Test networks that are rebuilt.
        steps: Steps of refinement.
        generated: New networks per method.
    """

    networks: int
    passes: int
    rebuilt: int
    steps: int
    generated: int


SIZES = {
    "smoke": Size(networks=24, passes=1, rebuilt=6, steps=5, generated=8),
    "laptop": Size(networks=480, passes=8, rebuilt=48, steps=100, generated=64),
}


@dataclass
class Story:
    """Everything the quickstart found, for tables and pictures.

    Args:
        stage: The zoo and what belongs to it.
        trial: The test networks that were rebuilt.
        records: Every measured number.
        rebuilt: Networks rebuilt by each method.
        generated: New networks by each method.
        predictions: (method, kind, property, predicted, true).
        embeddings: Embeddings of the test networks.
        encoders: The fitted autoencoders by name.
        seconds: Wall time of each chapter.
    """

    stage: Stage
    trial: Trial
    records: list[Record] = field(default_factory=list)
    rebuilt: list[Rebuilt] = field(default_factory=list)
    generated: list[Generation] = field(default_factory=list)
    predictions: list[tuple[str, Kind, str, Tensor, Tensor]] = field(default_factory=list)
    embeddings: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    encoders: dict[str, Autoencoder] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def run_quickstart(out: str | Path, tier: str = "laptop", seed: int = 0) -> Story:
    """Populate a zoo of digit classifiers and do with it what the library is for.

    Networks of the same initialization stay in one split, so test networks are strangers. Running
    the same command again reuses the zoo and the trained encoder.

    Args:
        out: Folder of everything that is made.
        tier: "laptop" takes minutes on two cores, "smoke" seconds.
        seed: Seed of the encoder, the queries and the draws.

    Raises:
        ConfigError: The tier is unknown.
    """
    if tier not in SIZES:
        raise ConfigError(f"The quickstart has no tier '{tier}'.", todo=f"Known: {', '.join(SIZES)}.")
    out, size = Path(out), SIZES[tier]
    clock = time.monotonic()
    recipe = load_recipe("digits", tier).replace(count=size.networks)
    stage = Stage(populate(recipe, out / "zoo"), tier, out)
    story = Story(stage, trial_of(stage, size.rebuilt))
    story.seconds["populate"] = time.monotonic() - clock
    for name, chapter in (
        ("fit", lambda: _fit(story, out, size, seed)),
        ("predict", lambda: _predict(story, seed)),
        ("rebuild", lambda: _rebuild(story, size, seed)),
        ("generate", lambda: _generate(story, size, seed)),
    ):
        clock = time.monotonic()
        chapter()
        story.seconds[name] = time.monotonic() - clock
    story.records = stamped(story.records, f"weightatlas quickstart --tier {tier} --seed {seed}")
    append_records(out / "results.json", story.records)
    return story


def _fit(story: Story, out: Path, size: Size, seed: int) -> None:
    """Make autoencoders of equal code size: three are ours to show, PCA is the floor."""
    story.encoders["activation"] = activation_encoder(story.stage, seed=seed)
    story.encoders[NAMES["activation_sparse"]] = sparse_encoder(story.stage, seed=seed)
    story.encoders["sane"] = sane_encoder(story.stage, seed, out / "sane", passes=size.passes)
    story.encoders["pca"] = pca_encoder(story.stage)


def _predict(story: Story, seed: int) -> None:
    """Predict accuracy and generalization gap of test networks from their weights alone."""
    stage, about = story.stage, story.stage.about("quickstart: predict", seed)
    # Coordinates need fewer images than rebuilding does, and all networks are embedded.
    reader = activation_encoder(stage, images=64, seed=seed)
    rows: list[tuple[str, Kind, PropertyPredictor]] = [
        (SHOWN["predict"], "ours", PropertyPredictor(reader)),
        ("sane + ridge", "ours", PropertyPredictor(story.encoders["sane"])),
        ("layer statistics + ridge", "baseline", PropertyPredictor("layer_statistics")),
        ("layer statistics + boosting", "baseline", PropertyPredictor("layer_statistics", head="boosting")),
    ]
    with track(len(rows), "Predicting properties") as bar:
        for method, kind, predictor in rows:
            predictor.fit(stage.train, PROPERTIES, validation=stage.val)
            predicted = predictor.predict(stage.test)
            for column, name in enumerate(PROPERTIES):
                true = stage.test.labels[name].double()
                story.predictions.append((method, kind, name, predicted[:, column], true))
                story.records += rank(predicted[:, column], true, name).records(method, name, kind, **about)
            bar.advance(note=method)
    story.embeddings = reader.embed(stage.test)


def _rebuild(story: Story, size: Size, seed: int) -> None:
    """Rebuild test networks from codes, plain and refined, beside baselines of equal steps."""
    stage, trial, about = story.stage, story.trial, story.stage.about("quickstart: rebuild", seed)
    config = RefineConfig(steps=size.steps, seed=seed)
    for method, encoder in story.encoders.items():
        kind: Kind = "baseline" if method == "pca" else "ours"
        story.rebuilt += rebuild(stage, trial, method, kind, chart_of(encoder, trial.originals), config)
    numbers = story.encoders["activation"].code_numbers(stage.spec)
    for method, chart in trivial_charts(stage, trial, numbers, seed):
        story.rebuilt += rebuild(stage, trial, method, "baseline", chart, config)
    story.records += [record for part in story.rebuilt for record in part.records(**about)]
    story.records += trial.reference.records(**about)


def _generate(story: Story, size: Size, seed: int) -> None:
    """Draw new networks near good ones, chosen on validation data, beside what averaging and noise give."""
    stage, about = story.stage, story.stage.about("quickstart: generate", seed)
    anchors = stage.train_values[choose_anchors(stage.train.labels["val_acc"])]
    generator = generator_of("quickstart", seed)
    trivial = trivial_sets(anchors, size.generated, generator, stage.spec)
    pool, config = stage.pool.inputs, RefineConfig(steps=size.steps, seed=seed)
    outputs = stage.population.outputs_no_grad(anchors, pool)
    source = generator_of("quickstart imitation", seed)
    ours, fresh = imitators(stage.population, anchors, outputs, pool, size.generated, source, config)
    trivial["fresh networks that imitate"] = fresh
    sets: dict[str, Float[Tensor, "networks params"]] = {}
    with track(2, "Generating networks") as bar:
        for method in ("activation", "sane"):
            encoder = story.encoders[method]
            with torch.no_grad():
                codes = encoder.encode(weights_of(anchors[:256], stage.spec)).codes
            sets[f"{method}, PCA + KDE"] = generate(encoder, codes, stage.spec, size.generated, generator)
            around = generate(
                encoder,
                codes,
                stage.spec,
                size.generated,
                generator,
                "kde_joint",
                SampleConfig(bandwidth=0.1),
            )
            sets[f"{method}, KDE around anchors"] = around
            bar.advance(note=method)
    sets[SHOWN["generate"]] = ours
    known = surroundings(stage.train_values, stage.spec, lineage=stage.lineage("train"))
    everything = {**sets, **trivial}
    story.generated = judge_generated(everything, stage.exam, stage.train_values, known, tuple(trivial))
    story.records += [record for part in story.generated for record in part.records(**about)]
