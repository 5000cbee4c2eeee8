"""`bench generation`: new networks beside averages, noise and copies."""

from pathlib import Path

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols import generation as module
from weightatlas.evaluate.protocols.generation import COLUMNS, anchors_of, generation, nearest_of
from weightatlas.results import Record

ENCODERS = ("sane", "pca", "activation")
FEW = {"methods": ("pca_kde",), "count": 4}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generation") / "r.json"


@pytest.fixture(scope="module")
def records(there, cache, out) -> list[Record]:
    return generation("smoke", out, (0,), cache, **FEW)


def test_new_networks_stand_beside_trivial_ones(records):
    ours = {r.method for r in records if r.kind == "ours"}
    baselines = {r.method for r in records if r.kind == "baseline"}
    drawn = {f"{name}, pca_kde{order}" for name in ENCODERS for order in ("", ", aligned")}
    assert ours == drawn | {"imitation, noise 0.4", "imitation, fresh start"}
    assert "fresh networks that learn labels" in baselines
    assert baselines >= {"anchors", "averaged anchors", "averaged anchors, aligned"}
    assert baselines >= {f"nearest training networks to {name}" for name in ENCODERS}
    assert any(name.startswith("noise") for name in baselines)
    for method in ours | baselines:
        assert {r.metric for r in records if r.method == method} >= set(COLUMNS)


def test_copies_have_no_distance_and_new_networks_have_one(records):
    far = {r.method: r.value for r in records if r.metric == "nearest training network"}
    assert all(far[f"nearest training networks to {name}"] < 1e-3 for name in ENCODERS)
    assert all(far[f"{name}, pca_kde"] > 0.05 for name in ENCODERS)
    noise = [far[f"noise {sigma} around anchors"] for sigma in ("0.05", "0.1", "0.2")]
    assert noise[1] / noise[0] == pytest.approx(2, rel=0.2)
    assert noise[2] / noise[1] == pytest.approx(2, rel=0.2)


def test_a_second_run_draws_nothing(records, cache, out, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was measured again")

    monkeypatch.setattr(module, "judge_generated", refuse)
    assert generation("smoke", out, (0,), cache, **FEW) == records
    with pytest.raises(AssertionError, match="measured again"):
        generation("smoke", out, (1,), cache, **FEW)


def test_anchors_are_the_best_on_validation_images(there):
    anchors = anchors_of(there, 0.3)
    scores = there.train.labels["val_acc"]
    chosen = scores.topk(len(anchors)).values
    assert torch.equal(anchors[0], there.train_values[int(scores.argmax())])
    assert len(anchors) == round(0.3 * len(scores))
    assert float(chosen.min()) >= float(scores.median())


def test_the_nearest_network_of_a_training_network_is_itself(there):
    some = there.train_values[[3, 5]]
    assert torch.equal(nearest_of(there, some), some)


def test_an_unknown_encoder_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ConfigError, match="no encoder 'sanee'"):
        generation("smoke", tmp_path / "r.json", (0,), encoders=("sanee",))
    assert not list(tmp_path.iterdir())
