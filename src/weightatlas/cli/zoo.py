"""weightatlas zoo populate | import | info | verify | export."""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from weightatlas.cli import console
from weightatlas.cli.arguments import WrongUsage, settings
from weightatlas.cli.inputs import Part, open_part
from weightatlas.cli.zoo_import import import_ as import_


def populate(
    recipe: Annotated[str, tyro.conf.Positional],
    out: Path,
    tier: Literal["smoke", "laptop", "paper"] | None = None,
    executor: Literal["serial", "processes", "ray", "slurm"] = "serial",
    executor_set: tuple[str, ...] = (),
    device: str = "auto",
    set: tuple[str, ...] = (),
    json: bool = False,
    dry_run: bool = False,
) -> None:
    """Train the networks of a recipe that the zoo does not hold yet; running again continues.

    Example:
        weightatlas zoo populate digits --tier smoke --out runs/digits-zoo

    Args:
        recipe: Name of a recipe of the package, or path of a YAML file; recipes of signals (digit_images,
            mnist_inrs, chairs, ...) fit one network to each image or shape.
        out: Folder of the zoo.
        tier: Size of the recipe.
        executor: serial uses all cores for one shard after the other, processes one core per shard,
            ray and slurm a worker of a cluster per shard.
        executor_set: Options of the executor, as key=value (workers=4).
        device: auto, cpu or cuda.
        set: Changes of the recipe, as key=value (grid.lr=[0.001,0.01]).
        json: Print the result as JSON.
        dry_run: Only say what would be trained.
    """
    from weightatlas.zoo.fields import field_recipes
    from weightatlas.zoo.recipe import load_recipe

    if recipe in field_recipes():
        if executor != "serial" or executor_set:
            raise WrongUsage(f"--executor: the networks of '{recipe}' are all fitted at once, here.")
        _populate_fields(recipe, out, tier, device, settings(set), json, dry_run)
        return
    chosen = load_recipe(recipe, tier)
    changes = settings(set)
    if changes:
        values = chosen.model_dump()
        chosen = type(chosen).build(_merged(values, changes), where=f"In the recipe '{recipe}' with --set.")
    if dry_run:
        console.print_facts(_plan(chosen), title=f"Recipe {chosen.name}", as_json=json)
        return
    from weightatlas.executors import create_executor
    from weightatlas.zoo.populate import populate as train

    train(chosen, out, executor=create_executor(executor, **settings(executor_set)), device=device)
    info(out, json=json)


def _populate_fields(
    recipe: str,
    out: Path,
    tier: str | None,
    device: str,
    changes: dict[str, Any],
    json: bool,
    dry_run: bool,
) -> None:
    """Fit one network to each signal of a recipe."""
    from weightatlas.zoo.fields import field_recipe, populate_fields, signals_of

    chosen = field_recipe(recipe, tier, **changes)
    if dry_run:
        facts = {"source": chosen.source, "networks": len(signals_of(chosen)), "steps": chosen.steps}
        facts |= {"widths": list(chosen.hidden), "frequency": chosen.omega, "start": chosen.start}
        console.print_facts(facts, title=f"Recipe {chosen.name}", as_json=json)
        return
    populate_fields(chosen, out, device)
    info(out, json=json)


def info(zoo: Annotated[Path, tyro.conf.Positional], json: bool = False) -> None:
    """Say what is in a zoo.

    Example:
        weightatlas zoo info runs/digits-zoo

    Args:
        zoo: Folder of the zoo.
        json: Print as JSON.
    """
    console.print_facts(_facts(open_part(zoo, "all")), title=str(zoo), as_json=json)


def verify(
    zoo: Annotated[Path, tyro.conf.Positional],
    sample: int = 16,
    rebuild: bool = False,
    json: bool = False,
) -> int:
    """Check every byte of a zoo, finiteness, and the stored scores of a sample.

    Example:
        weightatlas zoo verify runs/digits-zoo

    Args:
        zoo: Folder of the zoo.
        sample: How many networks to score again.
        rebuild: First write the index networks.parquet anew from the shards.
        json: Print as JSON.
    """
    from weightatlas.errors import WeightAtlasError
    from weightatlas.zoo import Zoo
    from weightatlas.zoo.index import rebuild_index
    from weightatlas.zoo.verify import verify_folder

    if sample < 0:
        raise WrongUsage(f"--sample: at least none are scored again, not {sample}.")
    if rebuild:
        rebuild_index(zoo)
    try:
        found = Zoo.open(zoo).verify(sample=sample)
    except WeightAtlasError as error:
        found = verify_folder(zoo)
        if found.ok or found.problems == (error.what,):
            raise
        console.print_error(error)
    facts = {name: getattr(found, name) for name in ("shards", "rows", "rescored", "ok")}
    problems, notes = list(found.problems), list(found.notes)
    if json:
        console.print_json({**facts, "problems": problems, "notes": notes})
    else:
        console.print_facts(facts, title=str(zoo))
        for line in [*problems, *notes]:
            console.say(line)
    return 0 if found.ok else 1


def export(
    zoo: Annotated[Path, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    part: Part = "all",
    where: tuple[str, ...] = (),
    json: bool = False,
    dry_run: bool = False,
) -> None:
    """Write networks as plain checkpoints (.safetensors) with a table of their properties.

    Example:
        weightatlas zoo export runs/digits-zoo checkpoints --where epoch=14

    Args:
        zoo: Folder of the zoo.
        out: Folder of the checkpoints.
        part: Split to export.
        where: Conditions on columns, as name=value.
        json: Print the paths as JSON.
        dry_run: Only say how many networks would be written.
    """
    chosen = open_part(zoo, part)
    if where:
        chosen = chosen.filter(**settings(where))
    if dry_run:
        console.print_facts({"networks": len(chosen), "folder": str(out)}, as_json=json)
        return
    if not len(chosen):
        raise WrongUsage(f"No network of {zoo} is like this: {' '.join((f'--part {part}', *where))}.")
    paths = chosen.export(out)
    if json:
        console.print_json([str(path) for path in paths])
    else:
        console.say(f"Wrote {len(paths):,} checkpoints and networks.csv to {out}.")


def _plan(recipe: Any) -> dict[str, Any]:
    """What a recipe would train."""
    from weightatlas.networks import create_network
    from weightatlas.tasks import create_task

    task = create_task(recipe.task, **recipe.task_options)
    runs = recipe.runs(task)
    network = runs[0].network
    module = create_network(network.name, **network.options)
    params = sum(value.numel() for value in module.state_dict().values() if value.is_floating_point())
    rows = len(runs) * len(recipe.kept)
    return {
        "task": recipe.task,
        "network": recipe.network,
        "parameters": params,
        "networks": len(runs),
        "epochs": recipe.epochs,
        "kept after epochs": list(recipe.kept),
        "rows": rows,
        "megabytes, at most": round(rows * params * 4 / 1e6, 1),
    }


def _facts(zoo: Any) -> dict[str, Any]:
    """What a zoo holds, in the words of its columns."""
    import numpy as np

    facts: dict[str, Any] = {
        "name": zoo.name,
        "rows": len(zoo),
        "networks": len(set(zoo.column("network").tolist())),
        "lineages": len(set(zoo.column("lineage").tolist())),
        "diverged rows": zoo.diverged,
        "tasks": sorted(zoo.header.tasks),
        "parameters": sorted({spec.params for spec in zoo.specs}),
        "epochs": sorted({int(step) for step in zoo.column("step").tolist() if step is not None}),
    }
    parts = zoo.column("split").tolist()
    facts["split (train/val/test)"] = "/".join(str(parts.count(part)) for part in ("train", "val", "test"))
    for name in ("train_acc", "val_acc", "test_acc"):
        values = zoo.column(name).astype(float) if name in zoo.table.names else np.zeros(0)
        if np.isfinite(values).any():
            low, middle, high = np.nanquantile(values, [0, 0.5, 1])
            facts[name] = f"{low:.3f} to {high:.3f}, median {middle:.3f}"
    return facts


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Lay nested changes over nested values."""
    both = dict(values)
    for key, change in changes.items():
        inner = both.get(key)
        nested = isinstance(change, dict) and isinstance(inner, dict)
        both[key] = _merged(inner, change) if nested else change  # pyright: ignore[reportArgumentType]
    return both
