"""`bench data_efficiency`: nested shares, all methods alike, curves in the record and its figure."""

from pathlib import Path

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols import data_efficiency as module
from weightatlas.evaluate.protocols.data_efficiency import EfficiencyConfig, data_efficiency, fewer
from weightatlas.evaluate.protocols.inr_frequency import sine_stage
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.report.exhibits import draw


def test_smoke_tier_has_a_point_per_share_and_a_figure(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = cache / "efficiency.json"
    records = data_efficiency("smoke", out, (0,), cache)
    found = {(r.method, r.metric): r.value for r in records}
    settings = settings_of("data_efficiency", "smoke", EfficiencyConfig, {})
    count = len(sine_stage(settings, "smoke", cache).parts["train"])
    for method in settings.only:
        assert found[method, "MSE"] == found[method, f"MSE with {count} networks"]
        assert found[method, f"MSE with {(count + 1) // 2} networks"] > 0
    text = draw(records, "curves")
    assert text is not None
    assert "training networks" in text
    monkeypatch.setattr(module, "measured", lambda *_, **__: pytest.fail("measured again"))
    assert len(data_efficiency("smoke", out, (0,), cache)) == len(records)


def test_larger_shares_hold_smaller_ones_and_only_training_networks(cache: Path) -> None:
    settings = settings_of("data_efficiency", "smoke", EfficiencyConfig, {})
    there = sine_stage(settings, "smoke", cache)
    half, most = fewer(there, 0.5, 0).table("train")[0], fewer(there, 0.8, 0).table("train")[0]
    assert torch.equal(half, most[: len(half)])
    known = {tuple(row) for row in there.table("train")[0].tolist()}
    assert all(tuple(row) in known for row in most.tolist())
    assert not torch.equal(half, fewer(there, 0.5, 1).table("train")[0])


def test_all_shares_take_whole_passes_of_at_least_as_many_steps(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of("data_efficiency", "smoke", EfficiencyConfig, {"updates": 5})
    there, seen = sine_stage(settings, "smoke", cache), []
    monkeypatch.setattr(module, "trained_records", lambda *given: seen.append(given[3].fit.passes) or [])
    for share in (0.2, 1.0):
        less = fewer(there, share, 0)
        module.trained(less, "SNE", 0, settings)
        each = -(-len(less.parts["train"]) // settings.batch)
        assert settings.updates <= seen[-1] * each < settings.updates + each


def test_an_unknown_method_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no method 'SNF'"):
        data_efficiency("smoke", tmp_path / "r.json", (0,), only="SNF")
