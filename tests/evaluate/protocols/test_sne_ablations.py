"""`bench sne_ablations`: every trial changes what it says, published numbers beside."""

from pathlib import Path

import pytest

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.evaluate.protocols.sne_ablations import (
    FULL,
    AblationsConfig,
    merged,
    sne_ablations,
)
from weightatlas.fit.presets import preset


def test_smoke_tier_measures_each_trial(cache: Path) -> None:
    out = cache / "ablations.json"
    records = sne_ablations("smoke", out, (0,), cache)
    found = {(r.method, r.metric): r.value for r in records if r.kind != "published"}
    for name in settings_of("sne_ablations", "smoke", AblationsConfig, {}).only:
        assert found[name, "MSE"] > 0
    errors = [value for (_, metric), value in found.items() if metric == "MSE"]
    assert len(set(errors)) == len(errors)
    printed = {r.method: r.value for r in records if r.kind == "published"}
    assert printed[FULL] == 0.098
    assert printed["without positions and hierarchy"] == 7.452
    assert len(sne_ablations("smoke", out, (0,), cache)) == len(records)


def test_trials_change_one_part_of_the_published_encoder() -> None:
    settings = settings_of("sne_ablations", "paper", AblationsConfig, {})
    full = merged(preset(settings.preset).settings, settings.settings)
    assert settings.trials[FULL].settings == {}
    for name, trial in settings.trials.items():
        own = merged(full, trial.settings)
        assert (own == full) is (name in (FULL, "without the regularizer"))
        assert own["chunks"]["mode"] == "flat"
    assert merged(full, settings.trials["chunks of 4"].settings)["chunks"]["width"] == 4
    assert [name for name, trial in settings.trials.items() if not trial.regularized] == [
        "without the regularizer"
    ]


def test_an_unknown_trial_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no trial 'without sets'"):
        sne_ablations("smoke", tmp_path / "r.json", (0,), only="without sets")
