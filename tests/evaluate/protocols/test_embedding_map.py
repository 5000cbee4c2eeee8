"""`bench embedding_map`: zoos apart or mixed are told so, points beside the record."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from weightatlas.evaluate.protocols import embedding_map as module
from weightatlas.evaluate.protocols.embedding_map import (
    COLUMNS,
    MapConfig,
    between,
    embedding_map,
    points_beside,
    standardized,
    told,
)
from weightatlas.evaluate.protocols.registry import settings_of


def test_smoke_tier_measures_and_keeps_points(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = cache / "map.json"
    records = embedding_map("smoke", out, (0,), cache / "cross")
    settings = settings_of("embedding_map", "smoke", MapConfig, {})
    found = {(r.method, r.metric): r.value for r in records}
    assert set(found) == {(method, metric) for method in settings.methods for metric in COLUMNS}
    assert all(0 <= value <= 1 for value in found.values())
    rows = list(csv.DictReader(points_beside(out).read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 8 * 2 * len(settings.methods)
    assert {row["zoo"] for row in rows} == set(settings.tasks)
    monkeypatch.setattr(module, "embeddings", lambda *_: pytest.fail("measured again"))
    assert len(embedding_map("smoke", out, (0,), cache / "cross")) == len(records)


def test_zoos_apart_are_told_and_mixed_ones_are_not() -> None:
    points, zoo = np.random.default_rng(0).normal(size=(120, 4)), np.repeat(np.arange(3), 40)
    assert told(points, zoo, 10) < 0.5
    assert between(points, zoo) < 0.1
    apart = points + 8 * zoo[:, None]
    assert told(apart, zoo, 10) == 1
    assert between(apart, zoo) > 0.9


def test_numbers_that_do_not_vary_say_nothing() -> None:
    points = torch.cat([torch.randn(9, 2), torch.full((9, 1), 3.0)], 1).double()
    assert standardized(points).shape == (9, 2)
    torch.testing.assert_close(standardized(points).square().mean(0), torch.ones(2).double())
