"""The bench runs at smoke size, measures nothing twice, and its features and scores are right."""

from pathlib import Path

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols import inr_frequency as bench
from weightatlas.evaluate.protocols.registry import benches, settings_of
from weightatlas.networks import create_network
from weightatlas.symmetry.verify import spec_of


def test_smoke_tier_is_complete_and_resumable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "results.json"
    settings = settings_of("inr_frequency", "smoke", bench.InrConfig, {})
    records = benches.get("inr_frequency")(tier="smoke", out=out, seeds=(0,))
    found = {(r.method, r.metric): r.value for r in records if r.kind != "published"}
    for method in (*settings.methods, "mean predictor"):
        assert found[method, "MSE"] > 0
        assert found[method, "MSE low"] < found[method, "MSE"] < found[method, "MSE high"]
    assert found["mean predictor", "R2"] <= 0
    assert found["SNE safe", "LI"] < 1e-6
    assert found["MLP", "LI"] > 1e-6
    assert any(r.kind == "published" and r.value == 0.098 for r in records)
    monkeypatch.setattr(bench, "sine_stage", lambda *_: pytest.fail("measured again"))
    again = benches.get("inr_frequency")(tier="smoke", out=out, seeds=(0,))
    assert len(again) == len(records)


def test_spectral_norms_are_singular_values():
    spec = spec_of(create_network("siren", coordinates=1, hidden=[4, 3]), (1,))
    values = torch.randn(5, spec.params)
    found = bench.spectral_norms(values, spec)
    second = values[:, spec.slices["2.weight"]].view(5, 3, 4)
    torch.testing.assert_close(found[:, 1], torch.linalg.svdvals(second)[:, 0])
    torch.testing.assert_close(found[:, -1], found[:, :3].prod(1))


def test_unknown_methods_are_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="no method 'SNN'"):
        benches.get("inr_frequency")(tier="smoke", out=tmp_path / "r.json", methods=["SNN"])


def test_ours_and_each_sne_with_and_without_the_regularizer_are_rows_by_default():
    assert {bench.COMMITTEE, bench.TOGETHER} <= set(bench.InrConfig.model_fields["methods"].default)
    for name in ("SNE safe", "SNE paper", "SNE linked"):
        assert {name, f"{name} + LI"} <= set(bench.InrConfig.model_fields["methods"].default)
