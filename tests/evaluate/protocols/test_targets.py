"""`bench targets`: each property in the measures of its kind, beside what needs no look at a network."""

import math
from pathlib import Path

import pytest

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.registry import check_settings
from weightatlas.evaluate.protocols.targets import CONSTANT, targets

RECIPE = """
base: digits_search
name: tiny_targets
tiers:
  smoke: {count: 30, epochs: 2, checkpoints: [1, 2], shard: 30, split: {train: 0.5, val: 0.2, test: 0.3}}
"""


def test_numbers_and_classes_are_scored_in_their_measures(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE)
    names = ("layer statistics + ridge",)
    given = {"recipe": str(recipe), "statistics": names, "targets": ("hp.lr", "hp.optimizer", "train_loss")}
    records = targets("smoke", tmp_path / "r.json", (0,), tmp_path, along="step", **given)
    found = {(r.method, r.metric): r for r in records}
    for method in (CONSTANT, *names):
        for metric in (
            "log10 hp.lr Kendall tau",
            "hp.optimizer accuracy",
            "log10 train_loss MAE",
            "step MAE",
        ):
            assert math.isfinite(found[method, metric].value)
    assert found[CONSTANT, "hp.optimizer accuracy"].kind == "baseline"
    assert found[CONSTANT, "log10 hp.lr Kendall tau"].value == 0
    # The epoch is told of every checkpoint, all else of the last.
    assert found[CONSTANT, "step MAE"].n == 2 * (found[CONSTANT, "hp.optimizer accuracy"].n or 0)
    assert targets("smoke", tmp_path / "r.json", (0,), tmp_path, along="step", **given) == records


def test_all_tiers_have_sound_settings() -> None:
    for tier in ("smoke", "laptop", "paper"):
        check_settings("targets", tier, {})
    with pytest.raises(ConfigError, match="kind"):
        check_settings("targets", "laptop", {"kinds": {"hp.lr": "logs"}})
