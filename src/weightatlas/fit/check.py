"""Everything that can be wrong with a training run, found before it starts."""

from pathlib import Path
from typing import Any

import torch

from weightatlas.atomic import write_text
from weightatlas.encoders.base import Autoencoder, Encoder
from weightatlas.errors import ConfigError, FileError, WeightAtlasError, gather
from weightatlas.fit.config import FitConfig
from weightatlas.fit.state import NAME
from weightatlas.objectives.composite import Composite
from weightatlas.population.forward import Population
from weightatlas.runtime import pick_device
from weightatlas.weights.batch import Batch, weights_of

PIECE = 2**22  # numbers looked at together


def needed(config: FitConfig | None, encoder: Encoder) -> FitConfig:
    """Return the settings of a training, which only encoders in closed form can do without.

    Raises:
        ConfigError: There are none.
    """
    if config is None:
        raise ConfigError(
            f"Nothing says how long to train the encoder '{encoder.name}'.",
            todo="Pass config=FitConfig(minutes=5), or passes= or steps=.",
        )
    return config


def check_run(
    encoder: Encoder,
    batch: Batch,
    config: FitConfig,
    loss: Composite,
    population: Population | None,
    queries: Any,
    out: Path | None,
    validation: Batch | None = None,
) -> None:
    """List every problem of a run at once, by looking and by trying one network on two queries.

    Raises:
        ConfigError: With one line per problem.
    """
    problems = _of_data(encoder, batch, "training")
    problems += [] if validation is None else _of_data(encoder, validation, "validation")
    problems += _of_loss(encoder, batch, config, loss, population, queries)
    problems += _of_layouts(batch, validation, loss)
    problems += _of_labels(batch, validation, loss, config)
    problems += _of_place(config, out)
    if not problems:
        problems += _of_trial(encoder, batch, loss, population, queries)
    gather(ConfigError, problems, where="Nothing was trained.")


def _of_data(encoder: Encoder, batch: Batch, part: str) -> list[str]:
    if len(batch) == 0:
        return [f"there are no {part} networks"]
    problems = []
    for group in batch:
        # Piece by piece: the values may be mapped from a file larger than memory.
        pieces = group.values.split(max(PIECE // max(group.spec.params, 1), 1))
        bad = sum(int((~torch.isfinite(piece)).any(1).sum()) for piece in pieces)
        if bad:
            problems.append(
                f"{bad} of {len(group)} {part} networks hold NaN or infinite weights; leave them out"
            )
        try:
            encoder.require(group.spec)
        except WeightAtlasError as error:
            problems.append(error.what)
    return problems


def _of_loss(
    encoder: Encoder, batch: Batch, config: FitConfig, loss: Composite, population: Any, queries: Any
) -> list[str]:
    problems = []
    if loss.needs_decoded and not (isinstance(encoder, Autoencoder) and encoder.decodes_weights):
        problems.append(f"the encoder '{encoder.name}' cannot decode, but the loss compares decoded networks")
    if loss.needs_queries and population is None:
        problems.append("the behavioral term executes networks: pass population=")
    if loss.needs_queries and queries is None:
        problems.append("the behavioral term needs inputs: pass queries= (a QueryPool or a tensor)")
    if (
        population is not None
        and batch.groups
        and population.spec.layout_id != batch.groups[0].spec.layout_id
    ):
        problems.append("population= executes networks of another layout than the training networks'")
    if loss.views > 1 and len(batch) < 2:
        problems.append("the contrastive term needs at least two networks")
    permutes = config.views.permute == "all" or (config.views.permute == "second" and loss.views > 1)
    bare = permutes and all(not group.spec.groups for group in batch)
    if loss.views > 1 and bare and config.views.noise == 0 and config.views.erase == 0:
        problems.append("both views would be equal: the spec has no permutations, noise and erase are 0")
    return problems


def _of_layouts(batch: Batch, validation: Batch | None, loss: Composite) -> list[str]:
    """A population executes one spec, in training and in validation."""
    if not loss.needs_queries:
        return []
    parts = {"training": batch, "validation": validation}
    counts = {part: len(found.groups) for part, found in parts.items() if found is not None}
    return [
        f"the behavioral term works on one layout, the {part} networks have {count}"
        for part, count in counts.items()
        if count > 1
    ]


def _of_labels(batch: Batch, validation: Batch | None, loss: Composite, config: FitConfig) -> list[str]:
    problems = []
    for part, networks in (("training", batch), ("validation", validation)):
        missing = [] if networks is None else [n for n in loss.labels if n not in networks.labels]
        if missing:
            problems.append(
                f"the {part} networks lack the label {', '.join(missing)}; pass batch(labels=...)"
            )
    if config.select is not None and (validation is None or config.validate_every == 0):
        problems.append(f"select='{config.select}' needs validation networks and validate_every > 0")
    if config.patience is not None and config.select is None:
        problems.append("patience needs select=, the validation number that must get better")
    return problems


def _of_place(config: FitConfig, out: Path | None) -> list[str]:
    problems = []
    try:
        pick_device(config.device)
    except ConfigError as error:
        problems.append(error.what)
    if out is not None:
        try:
            _note(config, out)
        except FileError as error:
            problems.append(error.what)
    return problems


def _note(config: FitConfig, out: Path) -> None:
    """Write the settings of a new run; a folder that holds a run keeps its own, by which it is continued."""
    path = out / "config.yaml"
    kept = path.exists() and (out / NAME).exists()
    write_text(path, path.read_text(encoding="utf-8") if kept else config.to_yaml())


def _of_trial(encoder: Encoder, batch: Batch, loss: Composite, population: Any, queries: Any) -> list[str]:
    """Send one network through everything the step will do."""
    group = batch.groups[0]
    one = weights_of(group.values[:1], group.spec)
    training = encoder.training
    try:
        with torch.no_grad():
            encoder.cpu().eval()
            values = (
                encoder.reconstruct(one)
                if isinstance(encoder, Autoencoder) and encoder.decodes_weights
                else encoder.encode(one).embedding
            )
            if loss.needs_queries:
                # An engine of its own: the population would time its engines on this tiny call.
                trial = Population(population.network, population.spec, engine="loop")
                trial.outputs_no_grad(values.cpu(), queries.inputs[:2].cpu())
    except (WeightAtlasError, RuntimeError) as error:
        return [f"a trial with one network failed: {str(error).splitlines()[0]}"]
    finally:
        encoder.train(training)
    return []


def embedding_dim(encoder: Encoder, batch: Batch) -> int:
    """Numbers per embedding; 1 if the networks do not fit, which `check_run` then reports."""
    training = encoder.training
    try:
        with torch.no_grad():
            encoder.require(batch.groups[0].spec)
            one = weights_of(batch.groups[0].values[:1], batch.groups[0].spec)
            # Norms over a batch refuse one network in training, and would learn from it.
            return encoder.cpu().eval().encode(one).embedding.shape[1]
    except (WeightAtlasError, IndexError):
        return 1
    finally:
        encoder.train(training)
