"""Benches by name: each measures, writes records, and never measures twice."""

import inspect
import json
import logging
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from weightatlas.config import Config, read_yaml
from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.stage import cache_of, resolve, stage
from weightatlas.progress import track
from weightatlas.registry import Registry
from weightatlas.results import Record, append_records, finished, load_records, new_peak, peak_mb, stamped
from weightatlas.zoo.recipe import Recipe

S = TypeVar("S", bound=Config)

log = logging.getLogger("weightatlas")
_OWN = ("tier", "out", "seeds", "cache")  # Arguments of every bench that decide no number.
_changes: ContextVar[Mapping[str, Any]] = ContextVar("changes")  # Settings of the bench that is running.


class Benches(Registry[list[Record]]):
    """Benches by name; each remembers while it runs with which settings it was called."""

    def register(self, name: str) -> Callable[[Any], Any]:
        """Return a decorator that files a bench under `name`."""
        file = super().register(name)

        def decorate(function: Any) -> Any:
            kinds = {argument.kind for argument in inspect.signature(function).parameters.values()}

            @wraps(function)
            def run(*arguments: Any, **options: Any) -> list[Record]:
                changes = {key: value for key, value in options.items() if key not in _OWN}
                if inspect.Parameter.VAR_KEYWORD not in kinds:
                    _refuse_settings(name, changes)
                before = _changes.set(changes)
                try:
                    return function(*arguments, **options)
                finally:
                    _changes.reset(before)

            return file(run)

        return decorate


benches = Benches("bench")
"""Name -> function(tier, out, seeds, **options) -> records. Options depend on the bench."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a bench is, before it is run.

    Args:
        summary: One line.
        recipe: Zoo it works on.
        minutes: Tier -> wall time on two cores for three seeds, its zoo included; none if it is unknown.
        columns: Metrics of its printed table, in order.
        settings: Class of its settings; none if it has none, or checks them itself.
        lists: Settings that are lists, of which the command may name one value.
        file: Name of its file in `presets/benches`, if not its own.
    """

    summary: str
    recipe: str
    minutes: dict[str, float | None]
    columns: tuple[str, ...] = ()
    settings: type[Config] | None = None
    lists: tuple[str, ...] = ()
    file: str = ""


cards: dict[str, Card] = {}


def settings_of(bench: str, tier: str, kind: type[S], changes: Mapping[str, Any]) -> S:
    """Read the settings of a bench from its YAML file in the package.

    Args:
        bench: Name of the file in `presets/benches`.
        tier: Section of it.
        kind: Class of the settings.
        changes: Settings of the caller, which go before those of the file.

    Raises:
        ConfigError: The tier or a setting is unknown.
    """
    with resources.as_file(resources.files("weightatlas") / "presets" / "benches" / f"{bench}.yaml") as path:
        values = read_yaml(path)
    tiers = values.pop("tiers")
    if tier not in tiers:
        raise ConfigError(f"The bench '{bench}' has no tier '{tier}'.", todo=f"Tiers: {', '.join(tiers)}.")
    return kind.build({**values, **(tiers[tier] or {}), **changes}, where=f"In the settings of '{bench}'.")


def check_settings(bench: str, tier: str, changes: Mapping[str, Any]) -> None:
    """Refuse what a bench would refuse as soon as it runs, without running it.

    Args:
        bench: Its name.
        tier: Its size.
        changes: Settings of the caller.

    Raises:
        ConfigError: A setting is unknown or has a wrong value.
    """
    card, arguments = cards[bench], inspect.signature(benches.get(bench)).parameters.values()
    if card.settings is not None:
        settings_of(card.file or bench, tier, card.settings, listed(changes, *card.lists))
    elif all(argument.kind != inspect.Parameter.VAR_KEYWORD for argument in arguments):
        _refuse_settings(bench, changes)


def _refuse_settings(bench: str, changes: Mapping[str, Any]) -> None:
    if changes:
        raise ConfigError(f"The bench '{bench}' has no setting '{next(iter(changes))}'.")


def listed(changes: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Let the command name one value of a setting that is a list.

    Example:
        >>> listed({"methods": "sne", "passes": 3}, "methods")
        {'methods': ('sne',), 'passes': 3}
    """
    return {n: (v,) if n in names and isinstance(v, str) else v for n, v in changes.items()}


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest piece of a bench that is measured at once and skipped when it is recorded.

    Args:
        method: A method whose record says that the unit is finished; the unit may record others too.
        seed: Its seed.
        work: From the stage to records.
    """

    method: str
    seed: int
    work: Callable[[Any], list[Record]]


def run_units(
    bench: str,
    tier: str,
    out: str | Path,
    recipe: str | Path | Recipe,
    units: Sequence[Unit],
    published: Iterable[Record] = (),
    cache: Path | None = None,
) -> list[Record]:
    """Measure what a results file does not hold yet; each unit is written as soon as it is done.

    The zoo is populated or opened only if something is left to measure.

    Args:
        bench: Name of the bench.
        tier: Size.
        out: Results file, a flat list of records.
        recipe: Of the zoo.
        units: What to measure, in order.
        published: Numbers of papers to print beside, written along.
        cache: Folder of zoos and encoders; beside `out` by default.

    Returns:
        All records of this bench, tier and zoo, published ones last.
    """
    name, place = resolve(recipe, tier).name, cache or cache_of(out)
    return run_on(bench, tier, out, name, units, lambda: stage(recipe, tier, place), published)


def run_on(
    bench: str,
    tier: str,
    out: str | Path,
    name: str,
    units: Sequence[Unit],
    prepare: Callable[[], Any],
    published: Iterable[Record] = (),
) -> list[Record]:
    """Measure on any stage what a results file does not hold yet.

    Args:
        bench: Name of the bench.
        tier: Size.
        out: Results file, a flat list of records.
        name: Name of the zoo in the records.
        units: What to measure, in order.
        prepare: Makes what the units work on; only called if something is left to measure.
        published: Numbers of papers to print beside, written along.

    Returns:
        All records of this bench, tier and zoo, published ones last.
    """
    out = Path(out)
    command = _command(bench, tier)
    held = [finished(out, bench, tier, name, unit.method, unit.seed) for unit in units]
    missing = [unit for unit, records in zip(units, held, strict=True) if not records]
    _tell(out, command, [record for records in held for record in records])
    if missing:
        _measure(bench, command, out, prepare(), missing, len(units))
    published = list(published)
    known = {record.key for record in load_records(out)}
    if any(record.key not in known for record in published):
        append_records(out, published)
    ours = [r for r in load_records(out) if (r.bench, r.tier, r.zoo) == (bench, tier, name)]
    return [r for r in ours if r.kind != "published"] + published


def _command(bench: str, tier: str) -> str:
    """Say how to get the numbers again: the command with the settings it was called with."""
    words = [f"{key}={json.dumps(value, default=str)}" for key, value in sorted(_changes.get({}).items())]
    return shlex.join(["weightatlas", "bench", bench, "--tier", tier, *(["--set", *words] if words else [])])


def _tell(out: Path, command: str, held: Sequence[Record]) -> None:
    """Warn of numbers that are not measured again although they come from other settings."""
    others: dict[str, set[str]] = {}
    for record in held:
        if record.command not in ("", command):
            others.setdefault(record.command, set()).add(record.method)
    for other, methods in others.items():
        names = ", ".join(sorted(methods))
        log.warning("%s holds %s as measured by: %s. Other settings need another file.", out, names, other)


def _measure(bench: str, command: str, out: Path, there: Any, units: Sequence[Unit], total: int) -> None:
    """Run units one after the other and append their records."""
    with track(total, f"bench {bench}") as bar:
        bar.advance(total - len(units))
        for unit in units:
            new_peak()
            start = time.monotonic()
            records = unit.work(there)
            seconds = round(time.monotonic() - start, 2)
            spent: dict[str, Any] = {"seconds": seconds, "peak_mb": round(peak_mb(), 1)}
            filled = [r if r.seconds is not None else r.replace(**spent) for r in records]
            append_records(out, stamped(filled, command))
            bar.advance(note=f"{unit.method}, seed {unit.seed}")
