"""weightatlas bench."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from weightatlas.cli import console
from weightatlas.cli.arguments import WrongUsage, settings

if TYPE_CHECKING:
    from weightatlas.results import Record


def bench(
    name: Annotated[str, tyro.conf.Positional],
    tier: Literal["smoke", "laptop", "paper"] = "smoke",
    out: Path | None = None,
    seeds: int = 3,
    set: tuple[str, ...] = (),
    executor: Literal["serial", "processes", "ray", "slurm"] = "serial",
    executor_set: tuple[str, ...] = (),
    json: bool = False,
    dry_run: bool = False,
) -> None:
    """Measure one experiment beside its baselines; what the results file holds is not measured again.

    Benches: losses, generation, rebuild, cnn3, same_zoo and others. --dry-run tells how long one takes.

    Example:
        weightatlas bench losses --tier laptop --out results/losses.json

    Args:
        name: Which experiment.
        tier: smoke (minutes at most), laptop (two cores), paper (published sizes, for a GPU).
        out: Results file; zoos and encoders are kept in a folder "cache" beside it. By default
            results/NAME-TIER.json.
        seeds: How many; the first is 0. More seeds can be added later.
        set: Settings of the bench, as key=value.
        executor: Where seeds run; the first runs here and makes what all share, the others side by side.
        executor_set: Options of the executor, as key=value (workers=4).
        json: Print the records as JSON.
        dry_run: Only check the settings, and say what would be measured and how long it takes.
    """
    function = find(name)
    if seeds < 1:
        raise WrongUsage(f"--seeds: at least one is needed, not {seeds}.")
    path = out or Path("results") / f"{name}-{tier}.json"
    if dry_run:
        from weightatlas.evaluate.protocols.registry import check_settings

        check_settings(name, tier, settings(set))
        console.print_facts(plan(name, tier, path, seeds), title=f"bench {name}", as_json=json)
        return
    if executor != "serial" and seeds > 1:
        from weightatlas.evaluate.protocols.spread_seeds import spread_seeds
        from weightatlas.executors import create_executor

        runner = create_executor(executor, **settings(executor_set))
        spread_seeds(name, tier, path, seeds, settings(set), runner)
    records = function(tier=tier, out=path, seeds=tuple(range(seeds)), **settings(set))
    show(name, tier, records, as_json=json)
    from weightatlas.report.exhibits import write_beside

    drawn = write_beside(path, records, f"bench {name}, {tier}")
    if drawn is not None and not json:
        console.say(f"Figure: {drawn}")


def find(name: str) -> Callable[..., "list[Record]"]:
    """Return the function of a bench.

    Raises:
        WrongUsage: There is none of this name; the nearest is suggested.
    """
    from weightatlas.errors import ConfigError
    from weightatlas.relate.benches import benches

    try:
        return benches.get(name)
    except ConfigError as error:
        raise WrongUsage(error.what, where=error.where, todo=error.todo) from None


def plan(name: str, tier: str, out: Path, seeds: int) -> dict[str, Any]:
    """Say what a bench would do."""
    from weightatlas.evaluate.protocols.stage import cache_of
    from weightatlas.relate.benches import cards
    from weightatlas.results import load_records

    card = cards[name]
    minutes = card.minutes.get(tier)
    held = [r for r in load_records(out) if (r.bench, r.tier) == (name, tier) and r.kind != "published"]
    return {
        "measures": card.summary,
        "zoo": card.recipe,
        "seeds": list(range(seeds)),
        "minutes on two cores, three seeds": "not measured" if minutes is None else minutes,
        "results": str(out),
        "records already there": len(held),
        "zoos and encoders": str(cache_of(out)),
    }


def show(name: str, tier: str, records: "list[Record]", *, as_json: bool) -> None:
    """Print our numbers beside their baselines, and published ones as a table of their own."""
    from weightatlas.relate.benches import cards

    if as_json:
        console.print_records(records, as_json=True)
        return
    columns = cards[name].columns
    own = [record for record in records if record.kind != "published"]
    published = [record for record in records if record.kind == "published"]
    console.print_records(own, title=f"bench {name}, {tier}", metrics=columns)
    if published:
        title = "Published, on other zoos: for context, not for comparison"
        console.print_records(published, title=title, metrics=columns)
