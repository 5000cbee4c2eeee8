"""NetSpace on four architectures of CIFAR-10: the table of `bench netspace_ladder`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weightatlas.evaluate.protocols import netspace_ladder as several
from weightatlas.evaluate.protocols.registry import Card, benches, cards, settings_of
from weightatlas.results import Record

BENCH = "netspace_cifar_ladder"

cards[BENCH] = Card(
    "NetSpace on LeNetLike, VanillaCNN, ResNet8 and ResNet32 of CIFAR-10 (needs $WEIGHTATLAS_DATA)",
    "netspace_cifar_ladder",
    {"smoke": 1, "laptop": None, "paper": None},
    several.COLUMNS,
    settings=several.LadderConfig,
)


@benches.register(BENCH)
def netspace_cifar_ladder(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Embed the published architectures in one space (Berardi et al., 2022, Fig. 5).

    Smoke and laptop tier narrow the residual networks; paper tier takes the published ones, the teacher
    ResNet56 and the exact autoencoder.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and encoders; beside `out` by default.
        changes: Settings that differ from `presets/benches/netspace_cifar_ladder.yaml`.

    Raises:
        DataError: $WEIGHTATLAS_DATA is not set or lacks the file of CIFAR-10.
    """
    settings = settings_of(BENCH, tier, several.LadderConfig, changes)
    return several.measure(BENCH, tier, out, settings, seeds, cache)
