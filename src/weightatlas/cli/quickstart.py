"""weightatlas quickstart."""

from pathlib import Path
from typing import Literal


def quickstart(
    out: Path = Path("runs/quickstart"),
    tier: Literal["smoke", "laptop"] = "laptop",
    seed: int = 0,
    json: bool = False,
    dry_run: bool = False,
) -> None:
    """Train networks, learn their weights, then predict, rebuild and generate networks; ends in a report.

    Example:
        weightatlas quickstart --out runs/quickstart

    Args:
        out: Folder of everything that is made; running again continues.
        tier: laptop takes minutes on two cores; smoke only shows that everything works.
        seed: Seed of everything random.
        json: Print the results as JSON.
        dry_run: Only say what would be done.
    """
