"""Zoos of networks that represent one sine each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.errors import ZooError
from weightatlas.networks import create_network
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.population.signals import fit_signals
from weightatlas.progress import track
from weightatlas.runtime import key_of
from weightatlas.symmetry.verify import spec_of
from weightatlas.tasks.signals import SineConfig, sines
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import signature_of
from weightatlas.zoo.header import (
    Header,
    NetworkRecord,
    Shares,
    check_folder,
    has_header,
    read_header,
    write_header,
)
from weightatlas.zoo.index import load_index, rebuild_index
from weightatlas.zoo.lineage import digest, split_of
from weightatlas.zoo.populate import provenance
from weightatlas.zoo.store import write_shard
from weightatlas.zoo.table import Table
from weightatlas.zoo.zoo import Zoo


class SineRecipe(Config):
    """A zoo of sine networks 1-32-32-1 (SNE, Table 16), each with first weights of its own.

    Example:
        >>> SineRecipe(count=8).hidden
        (32, 32)

    Args:
        name: Name of the zoo.
        count: Networks.
        hidden: Widths of the sine layers.
        omega: Frequency of every sine layer.
        signals: What they represent.
        steps: Steps of Adam per network.
        lr: First learning rate.
        seed: Seed of the zoo, part of every network's key.
        split: Shares of the split; every network is a lineage of its own.
        shard: Networks fitted and stored together.
    """

    name: str = "sines"
    count: int = Field(ge=1)
    hidden: tuple[int, ...] = (32, 32)
    omega: float = 10.0
    signals: SineConfig = SineConfig()
    steps: int = Field(default=500, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    seed: int = 0
    split: Shares = Shares()
    shard: int = Field(default=250, ge=1)


def populate_sines(recipe: SineRecipe, out: str | Path) -> Zoo:
    """Fit all networks of a recipe that the zoo does not hold yet; more can be added by a larger count.

    Rows have the columns `frequency` and `train_loss` (mean squared error at the points).

    Args:
        recipe: What to fit.
        out: Folder of the zoo; created if it is not there.

    Raises:
        ZooError: The folder holds something else, or a zoo of another recipe.
    """
    folder = Path(out)
    check_folder(folder)
    options = {"coordinates": 1, "outputs": 1, "hidden": list(recipe.hidden), "omega": recipe.omega}
    network = create_network("siren", **options)
    spec = spec_of(network, (1,))
    signature = signature_of(network.state_dict(), spec)
    mark = digest(signature.model_dump_json())
    header = Header(
        name=recipe.name,
        split=recipe.split,
        recipe=recipe.model_dump(mode="json"),
        specs={spec.function_id or spec.layout_id: spec},
        signatures={mark: signature},
        networks={spec.function_id or spec.layout_id: NetworkRecord(name="siren", options=options)},
        provenance=provenance("sines"),
    )
    if has_header(folder):
        check_same(folder, recipe, {"count", "shard"})
    write_header(folder, header)
    keys = [key_of("sine", _identity(recipe), number) for number in range(recipe.count)]
    table = load_index(folder)
    present = set(table.column("network").tolist()) if len(table) else set()
    missing = [key for key in keys if name_of(key) not in present]
    population = Population(network, spec)
    with track(len(missing) * recipe.steps, f"fitting {len(missing)} sines") as bar:
        for start in range(0, len(missing), recipe.shard):
            part = torch.tensor(missing[start : start + recipe.shard])
            advance = lambda _, part=part: bar.advance(len(part))  # noqa: E731
            _shard(folder, recipe, population, part, mark, advance)
    rebuild_index(folder)
    zoo, wanted = Zoo.open(folder), {name_of(key) for key in keys}
    return zoo.filter(np.isin(zoo.column("network"), sorted(wanted)))


def _shard(
    folder: Path,
    recipe: SineRecipe,
    population: Population,
    keys: Int[Tensor, " networks"],
    signature: str,
    advance: Any,
) -> None:
    """Fit and store some networks."""
    signals = sines(keys, recipe.signals)
    start = initialize(population.spec, keys, "siren")
    values, errors = fit_signals(
        population, start, signals.inputs, signals.targets, recipe.steps, recipe.lr, advance
    )
    rows = _rows(population.spec, keys.tolist(), recipe)
    rows |= {
        "signature": [signature] * len(keys),
        "finite": torch.isfinite(values).all(1).numpy(),
        "frequency": signals.frequency.numpy(),
        "train_loss": errors.double().numpy(),
    }
    write_shard(folder, digest("shard", *map(str, keys.tolist())), values, Table.of(rows))


def _rows(spec: NetworkSpec, keys: Sequence[int], recipe: SineRecipe) -> dict[str, Any]:
    """Write the columns every zoo has."""
    names = [name_of(key) for key in keys]
    lineages = [digest("lineage", spec.layout_id, "siren", key) for key in keys]
    fixed = {"layout_id": spec.layout_id, "function_id": spec.function_id, "step": recipe.steps}
    fixed |= {"lineage_source": "init", "parent": None, "split_official": None, "task": None}
    return {
        "id": [f"{name}-{recipe.steps:04d}" for name in names],
        "network": names,
        **{name: [value] * len(keys) for name, value in {**fixed, "source": "sines"}.items()},
        "seed": list(keys),
        "init_seed": list(keys),
        "lineage": lineages,
        "split": split_of(lineages, recipe.split),
    }


def name_of(key: int) -> str:
    """Write a key as 16 hexadecimal digits."""
    return f"{key & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def _identity(recipe: SineRecipe) -> str:
    """What decides how a network comes out; growing the zoo changes none."""
    return recipe.replace(count=1, shard=1, name="").model_dump_json()


def check_same(folder: Path, recipe: Config, free: set[str]) -> None:
    """Refuse a zoo that was made with other settings; those in `free` may differ.

    Raises:
        ZooError: One differs.
    """
    old = read_header(folder).recipe or {}
    now = recipe.model_dump(mode="json")
    changed = [name for name in now if name not in free and old.get(name) != now[name]]
    if changed:
        raise ZooError(
            f"The zoo {folder} was made with another recipe: {', '.join(changed)} differ.",
            todo="Choose another folder.",
        )
