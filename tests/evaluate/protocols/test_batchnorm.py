"""`bench batchnorm`: what halo and re-estimated statistics do to residual networks, and new heads."""

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.batchnorm import COLUMNS, HEADS, batchnorm, conditioned, refreshed
from weightatlas.evaluate.protocols.stage import Stage, stage
from weightatlas.results import Record


@pytest.fixture(scope="module")
def residual(cache) -> Stage:
    return stage("residual_digits", "smoke", cache)


@pytest.fixture(scope="module")
def records(residual, cache, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return batchnorm("smoke", tmp_path_factory.mktemp("batchnorm") / "r.json", (0,), cache, count=4)


def value(records: list[Record], method: str, metric: str) -> float:
    return next(r.value for r in records if (r.method, r.metric) == (method, metric))


def test_every_method_is_judged_four_ways_and_heads_after_fine_tuning(records):
    columns = {r.metric for r in records if r.method == "rebuilt"}
    assert columns == set(COLUMNS)
    assert {r.kind for r in records if r.method.startswith("generated")} == {"ours"}
    for name in ("rebuilt", "zoo networks", "from scratch"):
        found = {r.metric for r in records if r.method == HEADS + name}
        assert found == {"accuracy after 0", "accuracy after 1"}


def test_halo_means_nothing_where_nothing_is_decoded(records):
    for method in ("zoo networks", "averaged anchors, aligned"):
        assert value(records, method, "neither") == value(records, method, "halo")
        assert value(records, method, "statistics") == value(records, method, "both")
    assert value(records, "rebuilt", "neither") != value(records, "rebuilt", "both")


def test_broken_statistics_are_repaired_and_only_they(residual):
    values = residual.test_values[:3].clone()
    for tensor in residual.spec.tensors:
        if tensor.role == "running_var":
            values[:, residual.spec.slices[tensor.name]] = -1.0
        if tensor.role == "running_mean":
            values[:, residual.spec.slices[tensor.name]] += 5.0
    numbers = conditioned(residual, values, values)
    whole = conditioned(residual, residual.test_values[:3], residual.test_values[:3])
    assert numbers["neither"] < whole["both"]
    assert numbers["both"] == pytest.approx(whole["both"], abs=1e-6)
    repaired = refreshed(residual, values)
    kept = residual.spec.trainable
    assert torch.equal(repaired[:, kept], values[:, kept])


def test_windows_must_be_longer_than_their_halos(residual, cache, tmp_path):
    with pytest.raises(ConfigError, match="leave nothing between halos of 12"):
        batchnorm("smoke", tmp_path / "r.json", (0,), cache, halo=12)
