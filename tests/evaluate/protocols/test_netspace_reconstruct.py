"""`bench netspace_reconstruct`: rows beside baselines, paths beside lines, nothing measured twice."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.evaluate.protocols.netspace import smoke
from weightatlas.evaluate.protocols import netspace_judge
from weightatlas.evaluate.protocols import netspace_reconstruct as module
from weightatlas.evaluate.protocols.netspace_judge import Judge
from weightatlas.evaluate.protocols.netspace_reconstruct import (
    COLUMNS,
    METHODS,
    ReconstructConfig,
    netspace_reconstruct,
)
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.latent.charts import free_chart

LINES = ("raw weights", "aligned weights", "aligned weights, REPAIR")
TRIVIAL = ("best training network", "mean network", "nearest training network", "random subspace, refined")


@pytest.fixture(scope="module")
def records(netspace_cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("records") / "r.json"
    return out, netspace_reconstruct("smoke", out, (0,), netspace_cache)


def test_rows_and_lines_stand_beside_their_baselines(records) -> None:
    _, found = records
    named = {(r.method, r.metric): r for r in found}
    assert len(METHODS) == 3
    for row in METHODS:
        assert all(named[row, metric].kind == "ours" for metric in COLUMNS)
        assert 0 < named[row, "weight distance"].value < 10
        assert all(named[f"{row}, refined", metric].kind == "ours" for metric in COLUMNS[:5])
    for name in TRIVIAL:
        assert all(named[name, metric].kind == "baseline" for metric in COLUMNS[:5])
    for name in LINES:
        assert all(named[name, metric].kind == "baseline" for metric in COLUMNS[5:])
        assert named[name, "path endpoint gap"].value < 1e-6
    assert all(math.isfinite(r.value) for r in found)
    assert named["netspace", "parameters per code number"].value == pytest.approx(3818 / 64)


def test_pictures_stand_beside_the_results(records) -> None:
    out, _ = records
    paths = (out.with_name("r-paths.svg")).read_text()
    accuracies = out.with_name("r-accuracies.svg").read_text()
    for row in METHODS:
        assert f">{row}<" in paths
        assert f">{row}<" in accuracies
        assert out.with_name(f"r-preps-{row.replace(', ', '-').replace(' ', '_')}.svg").exists()
    assert all(f">{name}<" in paths for name in LINES)


def test_further_seeds_leave_the_pictures_of_the_first(netspace_cache, tmp_path) -> None:
    settings = settings_of(module.BENCH, "smoke", ReconstructConfig, {"steps": 1})
    units = module.units_of(module.BENCH, settings, (2, 3), tmp_path / "r.json")
    there = smoke("netspace_digits", netspace_cache)
    rows = {unit.seed: unit for unit in units if unit.method == "random subspace, refined"}
    rows[3].work(there)
    assert not list(tmp_path.iterdir())
    rows[2].work(there)
    assert (tmp_path / "r-accuracies.csv").exists()


def test_a_second_run_measures_nothing(records, netspace_cache, monkeypatch) -> None:
    out, found = records

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was measured again")

    monkeypatch.setattr(module, "fit_space", refuse)
    for name in ("compare", "measure_paths"):
        monkeypatch.setattr(netspace_judge, name, refuse)
    picture = out.with_name("r-paths.svg")
    before = picture.read_bytes()
    picture.unlink()
    assert netspace_reconstruct("smoke", out, (0,), netspace_cache) == found
    assert picture.read_bytes() == before
    with pytest.raises(AssertionError, match="measured again"):
        netspace_reconstruct("smoke", Path(f"{out}2"), (0,), netspace_cache)


def test_anchors_join_early_networks_with_other_late_ones(netspace_cache) -> None:
    field = module.single(smoke("netspace_digits", netspace_cache), "batched", 3)
    field = replace(field, scores=field.scores | {"early": torch.zeros(3), "late": torch.ones(3)})
    field.scores["late"][1] = 0.2
    early, late = (field.parts[part] for part in ("early", "late"))
    start, end = module.anchors(field, 6, 0.3)
    where = lambda rows, known: [int((known == row).all(1).nonzero()) for row in rows]  # noqa: E731
    assert list(zip(where(start, early), where(end, late), strict=True)) == [
        *((1, 2), (2, 0), (0, 2), (1, 0)),  # 100 points apart, every network with its neighbors first
        *((0, 1), (2, 1)),  # 20 points apart
    ]
    assert len(module.anchors(field, 2, 0.3)[0]) == 2


def test_refinement_follows_the_originals(netspace_cache) -> None:
    there = smoke("netspace_digits", netspace_cache)
    field = module.single(there, "batched")
    test = field.parts["test"]
    settings = ReconstructConfig(recipe="netspace_digits", passes=1, steps=20)
    start = test + 0.05 * torch.randn(test.shape, generator=torch.Generator().manual_seed(0))
    moved = module.refined(there, field, free_chart(start), 0, settings)
    gaps = [
        {r.metric: r.value for r in Judge(there, field, "b").rebuilt(one, "x", "ours")}["agreement"]
        for one in (start, moved)
    ]
    assert gaps[1] > gaps[0]
