"""From CNNs to transformers: the bench runs at smoke size, zoos of all tiers are transformers."""

from pathlib import Path

import pytest

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.cross import CrossConfig
from weightatlas.evaluate.protocols.cross_zoos import recipe_of
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.evaluate.protocols.to_vit import BENCH, to_vit


def test_transformers_are_ranked_by_what_saw_cnns(cache: Path) -> None:
    out = cache / "to_vit.json"
    records = to_vit("smoke", out, (0,), cache / "cross")
    settings = settings_of(BENCH, "smoke", CrossConfig, {})
    assert {r.method for r in records} == set(settings.methods)
    assert {r.metric for r in records} >= {"tau", "tau: digits_cnn/digits to vit/digits", "tau over DeepSets"}
    assert not any(r.metric.endswith("to digits_cnn/digits") for r in records)


@pytest.mark.parametrize("tier", ["laptop", "paper"])
def test_zoos_of_larger_tiers_are_transformers_of_their_data(tier: str) -> None:
    settings = settings_of(BENCH, tier, CrossConfig, {})
    assert len(settings.tasks) == 3
    for task in settings.tasks:
        assert recipe_of(settings, ("vit", task), tier).network == "vit"


def test_an_unknown_method_is_named(cache: Path) -> None:
    with pytest.raises(ConfigError, match="no method 'SNF'"):
        to_vit("smoke", cache / "x.json", (0,), cache / "cross", methods="SNF")
