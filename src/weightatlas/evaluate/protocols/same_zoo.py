"""Properties of unseen networks of one zoo from their weights: every encoder beside its floors."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from weightatlas.encoders import io as _io  # noqa: F401 (registers the encoders)
from weightatlas.encoders.base import Autoencoder, encoders
from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols import same_zoo_rows as rows
from weightatlas.evaluate.protocols.refusals import or_refusal
from weightatlas.evaluate.protocols.registry import (
    Card,
    Unit,
    benches,
    cards,
    listed,
    run_units,
    settings_of,
)
from weightatlas.evaluate.protocols.same_zoo_rows import HALVES as HALVES
from weightatlas.evaluate.protocols.same_zoo_rows import RIVAL as RIVAL
from weightatlas.evaluate.protocols.same_zoo_rows import SameZooConfig as SameZooConfig
from weightatlas.evaluate.protocols.same_zoo_rows import last as last
from weightatlas.evaluate.protocols.scores import NAMES
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.evaluate.protocols.variants import Variant as Variant
from weightatlas.results import Kind, Record

Work = Callable[[Stage], list[Record]]
COLUMNS = tuple(f"{score} {name}" for name in ("test accuracy", "generalization gap") for score in NAMES[:3])
LISTS = ("methods", "targets", "statistics")
cards["same_zoo"] = Card(
    "properties of unseen networks of one zoo: every encoder beside layer statistics and trivial floors",
    "digits_search",
    {"smoke": 0.5, "laptop": None, "paper": None},
    COLUMNS,
    settings=SameZooConfig,
    lists=LISTS,
)


@benches.register("same_zoo")
def same_zoo(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Train every encoder on one zoo and predict properties of its test networks.

    One checkpoint a network (the last), split by lineage. Encoders are trained end to end with a head for
    all properties at once; the state with the best tau on validation networks is kept. Beside them: layer
    statistics with ridge and boosting, boosting on the hyperparameters alone, the best single statistic, and
    the ceiling that noisy labels set. Intervals of scores are bootstrapped, differences to boosting on the
    same draws; "coverage" is that of 90 % intervals of predictions. In a zoo of several layouts, boosting and
    the best statistic take pooled statistics. A method that does not accept the networks has a row of `-`
    with the reason.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and runs; beside `out` by default.
        changes: Settings that differ from `presets/benches/same_zoo.yaml`.

    Raises:
        ConfigError: A method or a setting is unknown.
    """
    settings = settings_of("same_zoo", tier, SameZooConfig, listed(changes, *LISTS))
    return run_units("same_zoo", tier, out, settings.recipe, units_of(settings, seeds), cache=cache)


def units_of(settings: SameZooConfig, seeds: Sequence[int]) -> list[Unit]:
    """A unit per row and seed: statistics and floors once, trained encoders with every seed.

    Raises:
        ConfigError: A method or a statistic is unknown.
    """
    work: dict[str, Work] = {}
    for name in settings.statistics:
        rows.parsed(name)
        work[name] = partial(rows.closed, name=name, settings=settings)
    work |= {
        "hyperparameters + boosting": partial(rows.hyperparameters, settings=settings),
        "best single statistic": partial(rows.single, settings=settings),
        "oracle, noisy labels": partial(rows.oracle, settings=settings),
    }
    units = [_unit(name, 0, run, settings) for name, run in work.items()]
    for seed in seeds:
        for name, variant in chosen(settings).items():
            run = partial(rows.trained, name=name, variant=variant, seed=seed, settings=settings)
            units.append(_unit(name, seed, run, settings, "ours"))
    return units


def _unit(name: str, seed: int, work: Work, settings: SameZooConfig, kind: Kind = "baseline") -> Unit:
    """A row that is refused with its reason if the method does not accept the networks."""

    def row(there: Stage) -> list[Record]:
        own = rows.parsed(name)[2] if name in settings.statistics else kind
        about = {"method": name, "kind": own, **there.about(settings.bench, seed)}
        return or_refusal(partial(work, there), about)

    return Unit(name, seed, row)


def chosen(settings: SameZooConfig) -> dict[str, Variant]:
    """Resolve the methods: named ones, or all variants and every further encoder that cannot decode.

    Raises:
        ConfigError: A method is neither a variant nor an encoder.
    """
    known = {n: v for n, v in settings.variants.items() if v.encoder in encoders.names()}
    if not settings.methods:
        used = {variant.encoder for variant in known.values()}
        rest = [name for name in encoders.names() if name not in used and not _decodes(name)]
        return {**known, **{name: Variant(encoder=name) for name in rest}}
    unknown = [name for name in settings.methods if name not in known and name not in encoders.names()]
    if unknown:
        names = ", ".join(sorted({*known, *encoders.names()}))
        raise ConfigError(f"There is no method '{unknown[0]}' here.", todo=f"Known: {names}.")
    return {name: known.get(name, Variant(encoder=name)) for name in settings.methods}


def _decodes(name: str) -> bool:
    factory: Any = encoders.get(name)
    return issubclass(factory, Autoencoder)
