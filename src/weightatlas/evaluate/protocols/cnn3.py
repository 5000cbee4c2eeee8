"""CNN3 on CIFAR-10: how well networks of the published size are rebuilt, plain and refined."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from weightatlas.config import Config
from weightatlas.evaluate.protocols.published import STRUCTURE
from weightatlas.evaluate.protocols.rebuild import NAMES, rebuild_records
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.results import Record

COLUMNS = (
    *("excess agreement", "agreement", "agreement where wrong", "accuracy error", "L2"),
    "parameters per number",
)


class Cnn3Config(Config):
    """Settings of `bench cnn3`.

    Args:
        recipe: Zoo: name of a recipe of the package, or path of a YAML file.
        methods: Encoders that rebuild ("sane", "activation", "activation_sparse", "pca") and "trivial": the
            references, and refinement of a random subspace and of fresh networks.
    """

    recipe: str = "cnn3_cifar10"
    methods: tuple[str, ...] = ("activation", "activation_sparse", "pca", "trivial", "sane")


cards["cnn3"] = Card(
    "rebuild CNN3 trained on CIFAR-10 (needs $WEIGHTATLAS_DATA), published agreement beside",
    "cnn3_cifar10",
    {"smoke": 1, "laptop": 60, "paper": None},
    COLUMNS,
    settings=Cnn3Config,
)


_MARKS = {"trivial": "fresh network", **NAMES}  # Method whose record says that a unit is finished.


@benches.register("cnn3")
def cnn3(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Rebuild CNN3 networks (10,853 parameters) of CIFAR-10, the table of `bench rebuild`.

    The paper's agreement for this data set, 31.9 % without and 59.6 % with the behavioral loss, stands
    beside as context: any two good networks agree about as much, so look at excess agreement.

    Wall time on two cores for three seeds: smoke one minute, laptop about an hour, of which 15
    minutes train the zoo (80 networks, 12 epochs of 5,000 images).

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of training and refinement.
        cache: Folder of zoos and encoders; beside `out` by default.
        changes: Settings that differ from `presets/benches/cnn3.yaml`.

    Raises:
        DataError: $WEIGHTATLAS_DATA is not set or lacks the file of CIFAR-10.
    """
    settings = settings_of("cnn3", tier, Cnn3Config, changes)
    units = [
        Unit(_MARKS.get(method, method), seed, partial(records_of, method=method, seed=seed))
        for seed in seeds
        for method in settings.methods
    ]
    context = [
        r.replace(bench="cnn3", method=f"SANE, {r.method}, plain")
        for r in STRUCTURE
        if r.zoo == "CIFAR-10" and r.metric == "agreement" and r.method in ("CS", "CSB")
    ]
    return run_units("cnn3", tier, out, settings.recipe, units, context, cache)


def records_of(there: Stage, method: str, seed: int) -> list[Record]:
    """Rebuild the test networks by one method, plain and refined."""
    return rebuild_records(there, method, seed, there.tier, "cnn3")
