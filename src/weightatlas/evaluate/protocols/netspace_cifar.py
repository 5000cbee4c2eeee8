"""NetSpace on residual networks of CIFAR-10: the table and the paths of `bench netspace_reconstruct`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weightatlas.evaluate.protocols import netspace_reconstruct as one
from weightatlas.evaluate.protocols.netspace_pictures import draw_pictures
from weightatlas.evaluate.protocols.registry import Card, benches, cards, run_units, settings_of
from weightatlas.results import Record

BENCH = "netspace_cifar"

cards[BENCH] = Card(
    "NetSpace on ResNet8 and CIFAR-10, half as wide as published (needs $WEIGHTATLAS_DATA)",
    "netspace_cifar10",
    {"smoke": 1, "laptop": 45, "paper": None},
    one.COLUMNS,
    settings=one.ReconstructConfig,
)


@benches.register(BENCH)
def netspace_cifar(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Rebuild ResNet8 networks of CIFAR-10 from one code each (Berardi et al., 2022, Fig. 3a and 3b).

    Smoke and laptop tier use networks of half the published width, batch norms folded; paper tier the
    published 132 networks and the exact autoencoder.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and encoders; beside `out` by default.
        changes: Settings that differ from `presets/benches/netspace_cifar.yaml`.

    Raises:
        DataError: $WEIGHTATLAS_DATA is not set or lacks the file of CIFAR-10.
    """
    settings = settings_of(BENCH, tier, one.ReconstructConfig, changes)
    units = one.units_of(BENCH, settings, seeds, Path(out))
    records = run_units(BENCH, tier, out, settings.recipe, units, cache=cache)
    draw_pictures(out, settings.methods)
    return records
