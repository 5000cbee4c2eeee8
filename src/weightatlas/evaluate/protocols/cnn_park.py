"""Properties of networks of varied architecture (CNN park): the rows of `bench same_zoo` on another zoo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from weightatlas.evaluate.protocols.registry import Card, benches, cards, listed, run_units, settings_of
from weightatlas.evaluate.protocols.same_zoo import COLUMNS, LISTS, units_of
from weightatlas.evaluate.protocols.same_zoo_rows import SameZooConfig
from weightatlas.results import Record


class CnnParkConfig(SameZooConfig):
    """Settings of `bench cnn_park`: those of `bench same_zoo`."""

    bench: ClassVar[str] = "cnn_park"


cards["cnn_park"] = Card(
    "properties of CNNs of 2 to 8 layers with shortcuts; what works on one architecture only is a row of -",
    "cnn_park_cifar10 (smoke: cnn_park_tiny, of digits)",
    {"smoke": None, "laptop": None, "paper": None},
    COLUMNS,
    settings=CnnParkConfig,
    lists=LISTS,
)


@benches.register("cnn_park")
def cnn_park(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Predict properties of networks whose depths, kernels, shortcuts and activations differ.

    The rows of `bench same_zoo`, with statistics pooled over layers. Test networks are of seen and of unseen
    architectures: the split is by lineage, and networks of different layouts are no relatives.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of initialization and training.
        cache: Folder of zoos and runs; beside `out` by default.
        changes: Settings that differ from `presets/benches/cnn_park.yaml`.

    Raises:
        ConfigError: A method or a setting is unknown.
        DataError: $WEIGHTATLAS_DATA is not set or lacks the file of CIFAR-10; smoke tier needs none.
    """
    settings = settings_of("cnn_park", tier, CnnParkConfig, listed(changes, *LISTS))
    return run_units("cnn_park", tier, out, settings.recipe, units_of(settings, seeds), cache=cache)
