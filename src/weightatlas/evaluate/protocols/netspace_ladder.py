"""NetSpace, four architectures: one space for all, what lies between them, and architectures never seen."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from pydantic import Field as Setting
from pydantic import model_validator
from torch import Tensor

from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.prep_autoencoder import PrepAutoencoder
from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.ladder_picture import draw_spaces, keep_space, space_of
from weightatlas.evaluate.protocols.netspace_rungs import Rungs, ladder_of, teacher_outputs
from weightatlas.evaluate.protocols.netspace_stage import Field, batch_of_fields, queries_of
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.evaluate.reconstruction import compare
from weightatlas.evaluate.reference import reference_of
from weightatlas.fit.presets import preset
from weightatlas.fit.space import SpaceFit, fit_space
from weightatlas.fit.space_step import SpaceQueries
from weightatlas.objectives.interpolation import gammas
from weightatlas.objectives.space import SpaceConfig
from weightatlas.results import Kind, Record
from weightatlas.runtime import key_of

BENCH = "netspace_ladder"
COLUMNS = (
    *("class accuracy", "accuracy gap", "accuracy", "excess agreement"),
    *("accuracy between, step 1", "accuracy between, step 2", "class between", "class order"),
)
ALL, UNSEEN, PLAIN = "all architectures", "smallest and largest only", "all, no interpolation loss"


class LadderConfig(Rungs):
    """Settings of `bench netspace_ladder` and `bench netspace_cifar_ladder`.

    Args:
        recipe: Zoo of the smallest architecture; the others are populated alike.
        further: The architectures after it, growing.
        teacher: Architecture of the teacher.
        teachers: Networks of it that are trained; the best on validation images teaches.
        preset: Encoder and training, from `presets/encoders`.
        passes: Steps of training, in passes over the networks of the row with all architectures.
        rows: Trainings to compare.
        counts: Training networks of each architecture. Middle ones are also learned from interpolation
            and get fewer, as in the paper (60, 50, 60, 100).
        unseen: The same where only the smallest and the largest are trained on (published 40 and 80).
        pairs: Pairs of a smallest and a largest test network to walk between.
        positions: Places on a path.
        engine: Engine that executes networks.
    """

    preset: str = "netspace_ladder"
    passes: int = Setting(ge=1)
    rows: tuple[str, ...] = (ALL, UNSEEN, PLAIN)
    counts: tuple[int, ...] = (24, 20, 24, 34)
    unseen: tuple[int, ...] = (16, 0, 0, 32)
    pairs: int = Setting(default=6, ge=1)
    positions: int = Setting(default=31, ge=3)
    engine: str = "batched"

    @model_validator(mode="after")
    def _one_count_each(self) -> Self:
        short = [name for name in ("counts", "unseen") if len(getattr(self, name)) != self.count]
        if short:
            raise ValueError(f"{' and '.join(short)} must name {self.count} numbers, one per architecture")
        return self


cards[BENCH] = Card(
    "NetSpace, four architectures: classes, accuracies, interpolation, architectures never seen",
    "netspace_ladder",
    {"smoke": 0.6, "laptop": 25, "paper": None},
    COLUMNS,
    settings=LadderConfig,
)


@benches.register(BENCH)
def netspace_ladder(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Embed four architectures in one space (Berardi et al., 2022, Fig. 5), with and without seeing all.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and encoders; beside `out` by default.
        changes: Settings that differ from `presets/benches/netspace_ladder.yaml`.
    """
    settings = settings_of(BENCH, tier, LadderConfig, changes)
    return measure(BENCH, tier, out, settings, seeds, cache)


def measure(
    bench: str, tier: str, out: str | Path, settings: LadderConfig, seeds: Sequence[int], cache: Path | None
) -> list[Record]:
    """Run a bench of several architectures, and draw its first seed beside the results."""
    units = units_of(bench, settings, seeds, out)
    records = run_units(bench, tier, out, settings.recipe, units, cache=cache)
    names = [settings.own(tier).network, *(record.name for record in settings.further)]
    twice = len(set(names)) < len(names)
    named = [f"{name}, step {step}" if twice else name for step, name in enumerate(names)]
    draw_spaces(out, named, settings.rows)
    return records


def units_of(bench: str, settings: LadderConfig, seeds: Sequence[int], out: str | Path) -> list[Unit]:
    """List what a bench of several architectures measures: trivial rebuilds, and every row."""
    units = [Unit("best training network", 0, partial(trivial_records, settings=settings, bench=bench))]
    return units + [
        Unit(row, seed, partial(row_records, row=row, seed=seed, settings=settings, bench=bench, out=out))
        for seed in seeds
        for row in settings.rows
    ]


def fields(there: Stage, settings: LadderConfig) -> list[Field]:
    """Return the architectures of the bench, populated once."""
    key = ("ladder", settings.recipe, settings.engine)
    return there.once(key, lambda: ladder_of(there, settings, settings.engine))


def lessons(there: Stage, settings: LadderConfig) -> tuple[SpaceQueries, SpaceQueries]:
    """Training images with the teacher's outputs, and validation images."""
    found = partial(teacher_outputs, there, settings, engine=settings.engine)
    return there.once(("lessons", settings.recipe), lambda: queries_of(there, found))


def row_records(
    there: Stage, row: str, seed: int, settings: LadderConfig, bench: str, out: str | Path
) -> list[Record]:
    """Train one row with one seed; rebuild test networks and walk from smallest to largest."""
    encoder = trained(there, row, seed, settings)
    if seed == 0:
        ladder = fields(there, settings)
        accuracy = partial(_accuracy_as, there, encoder, ladder)
        networks = [field.weights("test") for field in ladder]
        keep_space(out, row, space_of(encoder, networks, accuracy, settings.positions))
    found = []
    for step, field in enumerate(fields(there, settings)):
        found.append(rebuilt_numbers(there, encoder, field, step))
    about = {"method": row, "kind": "ours", **there.about(bench, seed)}
    means = {name: sum(each[name] for each in found) / len(found) for name in found[0]}
    numbers = dict(means)
    for step, each in enumerate(found):
        numbers |= {f"{name}, step {step}": value for name, value in each.items()}
    numbers |= between_numbers(there, encoder, settings)
    return [Record.build({**about, "metric": name, "value": value}) for name, value in numbers.items()]


@torch.no_grad()
def rebuilt_numbers(there: Stage, encoder: PrepAutoencoder, field: Field, step: int) -> dict[str, float]:
    """Class accuracy, accuracy gap and agreement on the test networks of one architecture."""
    test, exam = field.weights("test"), field.exam(there)
    codes = encoder.encode(test).codes
    rebuilt = encoder.decode(codes, field.spec).weights
    reference = reference_of(exam, field.parts["train"], field.scores["train"], test.values, field.spec)
    result = compare(exam, test.values, rebuilt, reference)
    return {
        "class accuracy": float((encoder.classes(codes) == step).float().mean()),
        "accuracy gap": float((result.accuracy - result.original).abs().mean()),
        "accuracy": float(result.accuracy.mean()),
        "original accuracy": float(result.original.mean()),
        "agreement": float(result.agreement.mean()),
        "excess agreement": result.excess,
    }


@torch.no_grad()
def between_numbers(there: Stage, encoder: PrepAutoencoder, settings: LadderConfig) -> dict[str, float]:
    """What codes between smallest and largest test networks stand for, and how well that does.

    "class order" is the share of paths along which the predicted architecture never becomes smaller;
    "accuracy on path" runs every code as what it is predicted to be.
    """
    ladder = fields(there, settings)
    start, end = (encoder.encode(ladder[place].weights("test")).codes for place in (0, -1))
    count = min(settings.pairs, len(start), len(end))
    start, end = start[:count], end[:count]
    numbers, right = {}, []
    for step, gamma in enumerate(gammas(len(ladder)).tolist(), start=1):
        codes = torch.lerp(start, end, gamma)
        accuracy = _accuracy(there, encoder, ladder[step], codes)
        numbers[f"accuracy between, step {step}"] = float(accuracy.mean())
        right.append(float((encoder.classes(codes) == step).float().mean()))
    numbers["class between"] = sum(right) / len(right)
    at = torch.linspace(0, 1, settings.positions)
    path = torch.stack([torch.lerp(start, end, gamma) for gamma in at.tolist()], dim=1)
    classes = encoder.classes(path.flatten(0, 1)).view(count, -1)
    numbers["class order"] = float((classes.diff(dim=1) >= 0).all(1).float().mean())
    found = torch.zeros(count, len(at), device=classes.device)
    for step, field in enumerate(ladder):
        mine = classes == step
        if bool(mine.any()):
            found[mine] = _accuracy(there, encoder, field, path[mine])
    return {**numbers, "accuracy on path": float(found.mean()), "worst on path": float(found.amin())}


def _accuracy(
    there: Stage, encoder: PrepAutoencoder, field: Field, codes: Float[Tensor, "networks 1 dim"]
) -> Float[Tensor, " networks"]:
    """Test accuracy of codes decoded as one architecture."""
    exam = field.exam(there)
    return exam.accuracy(exam.classes(encoder.decode(codes, field.spec).weights))


def _accuracy_as(
    there: Stage, encoder: PrepAutoencoder, ladder: Sequence[Field], step: int, codes: Tensor
) -> Float[Tensor, " networks"]:
    """Test accuracy of codes decoded as one place of the ladder."""
    return _accuracy(there, encoder, ladder[step], codes)


def trivial_records(there: Stage, settings: LadderConfig, bench: str = BENCH) -> list[Record]:
    """Answer with the best training network of each architecture, its class being known."""
    found: list[Record] = []
    kind: Kind = "baseline"
    ladder = fields(there, settings)
    numbers: dict[str, float] = {}
    for step, field in enumerate(ladder):
        exam, test = field.exam(there), field.parts["test"]
        best = field.parts["train"][int(field.scores["train"].argmax())]
        reference = reference_of(exam, field.parts["train"], field.scores["train"], test, field.spec)
        result = compare(exam, test, best.expand(len(test), -1), reference)
        numbers[f"accuracy gap, step {step}"] = float((result.accuracy - result.original).abs().mean())
        numbers[f"accuracy, step {step}"] = float(result.accuracy.mean())
        numbers[f"excess agreement, step {step}"] = result.excess
    for name in ("accuracy gap", "accuracy", "excess agreement"):
        numbers[name] = sum(numbers[f"{name}, step {step}"] for step in range(len(ladder))) / len(ladder)
    about = {"method": "best training network", "kind": kind, **there.about(bench)}
    found += [Record.build({**about, "metric": name, "value": value}) for name, value in numbers.items()]
    return found


def trained(there: Stage, row: str, seed: int, settings: LadderConfig) -> PrepAutoencoder:
    """Train the autoencoder of a row, or read it back; every row does the same number of steps.

    Raises:
        ConfigError: There is no such row, or the preset's encoder has no PReps.
    """
    if row not in (ALL, UNSEEN, PLAIN):
        raise ConfigError(f"There is no row '{row}'.", todo=f"Rows: {ALL}; {UNSEEN}; {PLAIN}.")
    ladder, chosen = fields(there, settings), preset(settings.preset)
    specs = [field.spec for field in ladder]
    encoder = create_encoder(chosen.encoder, None, seed, ladder=specs, **chosen.settings)
    if not isinstance(encoder, PrepAutoencoder):
        raise ConfigError(f"The preset '{settings.preset}' is of '{encoder.name}', which has no PReps.")
    train = batch_of_fields(ladder, "train", settings.unseen if row == UNSEEN else settings.counts)
    space = SpaceConfig.build({**chosen.space, **({"ladder": 0.0} if row == PLAIN else {})})
    batch = chosen.fit.batch
    steps = settings.passes * -(-sum(settings.counts) // batch)
    fit = {**chosen.fit.model_dump(), "forced": 0 if row == PLAIN else 2, "space": space}
    config = SpaceFit.build(
        {**fit, "passes": None, "steps": steps, "seed": seed, "device": str(there.device)}
    )
    teacher = settings.teacher.model_dump(), settings.teachers
    layouts = [spec.layout_id for spec in specs]
    facts = row, config.identity, settings.preset, chosen.settings, layouts, teacher
    mark = f"{key_of(*facts) & 0xFFFF_FFFF:08x}"
    folder = there.cache / "runs" / f"{there.name}-{there.tier}-seed{seed}-{mark}"
    pool, held = lessons(there, settings)
    parts = {"queries": pool, "populations": [field.population for field in ladder]}
    fit_space(encoder, train, config, folder, validation=(batch_of_fields(ladder, "val"), held), **parts)
    return encoder.eval()
