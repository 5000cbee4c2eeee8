"""To another family: what is trained there stands beside what never saw it."""

from pathlib import Path

import pytest

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.evaluate.protocols.to_family import BENCH, FamilyConfig, to_family


def test_rows_say_who_saw_the_family(cache: Path) -> None:
    records = to_family("smoke", cache / "to_family.json", (0,), cache / "cross")
    methods = {r.method for r in records}
    assert methods == {"pooled statistics + ridge", "DeepSets", "HyperRep, trained there"}
    found = {(r.method, r.metric): r.value for r in records}
    assert ("DeepSets", "tau: digits_cnn/digits to mlp/digits") in found
    assert ("HyperRep, trained there", "tau over DeepSets") in found
    away, here = (found[method, "tau"] for method in ("DeepSets", "HyperRep, trained there"))
    assert found["HyperRep, trained there", "tau over DeepSets"] == pytest.approx(here - away)


def test_wrong_settings_are_named(cache: Path) -> None:
    assert settings_of(BENCH, "laptop", FamilyConfig, {}).at_home == ("HyperRep", "SNE")
    with pytest.raises(ConfigError, match="two are needed"):
        to_family("smoke", cache / "x.json", (0,), networks=("mlp",))
    with pytest.raises(ConfigError, match="no method 'HypeRep'"):
        to_family("smoke", cache / "x.json", (0,), at_home="HypeRep")
