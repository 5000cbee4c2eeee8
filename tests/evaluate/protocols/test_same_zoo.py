"""`bench same_zoo`: encoders beside floors and ceiling, one checkpoint a network, resumable."""

import math
from pathlib import Path

import pytest

from tests.conftest import Park
from weightatlas.errors import ConfigError, SpecError
from weightatlas.evaluate.protocols import same_zoo_rows as module
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.evaluate.protocols.same_zoo import (
    RIVAL,
    SameZooConfig,
    Variant,
    chosen,
    last,
    same_zoo,
    units_of,
)
from weightatlas.evaluate.protocols.stage import stage
from weightatlas.evaluate.protocols.variants import made
from weightatlas.predict import committee
from weightatlas.results import Record

METHODS = ("stat_nn", "probes", "mlp")
FLOORS = (
    "layer statistics + ridge",
    RIVAL,
    "hyperparameters + boosting",
    "best single statistic",
    "oracle, noisy labels",
)
RECIPE = """
base: digits_search
name: tiny_search
tiers:
  smoke: {count: 24, epochs: 2, checkpoints: [1, 2], shard: 32, split: {train: 0.5, val: 0.2, test: 0.3}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("recipe") / "r.yaml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("same_zoo") / "r.json"


@pytest.fixture(scope="module")
def records(recipe: str, cache: Path, out: Path) -> list[Record]:
    with pytest.MonkeyPatch.context() as quick:
        quick.setattr(committee, "ROUNDS", 20)
        quick.setattr(committee, "TREES", 20)
        return same_zoo("smoke", out, (0,), cache, recipe=recipe, methods=METHODS)


def test_methods_stand_beside_floors_and_ceiling(records: list[Record]) -> None:
    kinds = {kind: {r.method for r in records if r.kind == kind} for kind in ("ours", "baseline")}
    assert kinds["ours"] == {*METHODS, "deep statistics + committee"}
    assert kinds["baseline"] == set(FLOORS)
    for method in (*METHODS, *FLOORS[:4]):
        metrics = {r.metric for r in records if r.method == method}
        assert metrics >= {
            "tau test accuracy",
            "R2 test accuracy",
            "MAE generalization gap",
            "tau low test accuracy",
        }
    assert all(math.isfinite(r.value) and r.split == "lineage" for r in records)
    assert any(r.metric.startswith("tau over boosting") for r in records if r.method == "mlp")
    assert any(r.metric == "coverage test accuracy" for r in records if r.method == RIVAL)


def test_a_second_run_measures_nothing(
    records: list[Record], recipe: str, cache: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was measured again")

    monkeypatch.setattr(module, "scored", refuse)
    assert same_zoo("smoke", out, (0,), cache, recipe=recipe, methods=METHODS) == records
    with pytest.raises(AssertionError, match="measured again"):
        same_zoo("smoke", out, (1,), cache, recipe=recipe, methods="mlp")


def test_every_network_counts_once(records: list[Record], recipe: str, cache: Path) -> None:
    there = stage(recipe, "smoke", cache)
    final = last(there)
    assert len(there.zoo) == 2 * len(final.zoo)
    assert set(final.zoo.column("step").tolist()) == {2}
    assert len(set(final.zoo.column("network").tolist())) == len(final.zoo)
    with pytest.raises(SpecError, match="dws"):
        made(final, Variant(encoder="dws"), 0)  # perceptrons only


def test_all_encoders_take_part_unless_some_are_named() -> None:
    names = chosen(settings_of("same_zoo", "laptop", SameZooConfig, {}))
    assert set(names) >= {
        "mlp",
        "deep_sets",
        "stat_nn",
        "dng",
        "probes",
        "neural_graph, gnn",
        "dng with probes",
    }
    assert "pca" not in names
    with pytest.raises(ConfigError, match="no method 'mlpp'"):
        chosen(settings_of("same_zoo", "laptop", SameZooConfig, {"methods": ("mlpp",)}))


def test_what_refuses_the_networks_is_a_row_with_the_reason_and_is_not_tried_again(
    park: Park, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = ("deep_sets", "mlp")
    rows = (RIVAL, "pooled statistics + ridge")
    given = {"recipe": str(park.recipe), "methods": methods, "statistics": rows}
    records = same_zoo("smoke", tmp_path / "r.json", (0,), park.cache, **given)
    refused = {record.method: record for record in records if record.note}
    assert set(refused) == {RIVAL, "mlp"}
    assert "'mlp' works on one layout" in refused["mlp"].note
    assert (refused["mlp"].kind, refused[RIVAL].kind) == ("ours", "baseline")
    for name in ("deep_sets", "pooled statistics + ridge", "best single statistic"):
        assert any(
            r.metric == "R2 test accuracy" and math.isfinite(r.value) for r in records if r.method == name
        )
    assert any(r.metric.startswith("tau over boosting") for r in records if r.method == "deep_sets")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was measured again")

    monkeypatch.setattr(module, "scored", refuse)
    monkeypatch.setattr(module, "made", refuse)
    assert same_zoo("smoke", tmp_path / "r.json", (0,), park.cache, **given) == records
    with pytest.raises(ConfigError, match="'layer statistic"):
        units_of(
            settings_of("same_zoo", "smoke", SameZooConfig, {"statistics": ("layer statistic + ridge",)}),
            (0,),
        )
