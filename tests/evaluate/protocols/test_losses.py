"""`bench losses`: five rows beside their baselines, resumable, the same numbers again."""

import math
import shutil
from pathlib import Path

import pytest
import torch

from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols import losses as module
from weightatlas.evaluate.protocols.losses import COLUMNS, LossesConfig, losses, rebuild
from weightatlas.evaluate.protocols.published import STRUCTURE
from weightatlas.results import Record, load_records

ROWS = ("CS", "B", "CB", "SB", "CSB")
FLOORS = ("layer statistics + ridge", "layer statistics + boosting")
TRIVIAL = ("best training network", "mean network", "nearest training network", "PCA, same code size")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("losses") / "r.json"


@pytest.fixture(scope="module")
def records(there, cache, out) -> list[Record]:
    return losses("smoke", out, (0,), cache)


def value(records: list[Record], method: str, metric: str, kind: str = "") -> float:
    (found,) = [r for r in records if (r.method, r.metric) == (method, metric) and kind in (r.kind, "")]
    return found.value


def test_rows_stand_beside_their_baselines(records):
    ours = {r.method for r in records if r.kind == "ours"}
    baselines = {r.method for r in records if r.kind == "baseline"}
    assert ours == set(ROWS)
    assert baselines >= {*FLOORS, *TRIVIAL}
    measured = [r for r in records if r.kind != "published"]
    for method in (*ROWS, "PCA, same code size"):
        assert {r.metric for r in measured if r.method == method} >= set(COLUMNS)
    assert {r.metric for r in measured if r.method in FLOORS} >= set(COLUMNS[-2:])
    assert {r.metric for r in measured if r.method in TRIVIAL} >= set(COLUMNS[:4])
    assert all(math.isfinite(r.value) and r.split == "lineage" for r in measured)


def test_a_second_run_trains_and_measures_nothing(records, cache, out, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was measured again")

    for name in ("fit", "compare", "PropertyPredictor"):
        monkeypatch.setattr(module, name, refuse)
    before = out.read_bytes()
    assert losses("smoke", out, (0,), cache) == records
    assert out.read_bytes() == before
    with pytest.raises(AssertionError, match="measured again"):  # the control: another seed is measured
        losses("smoke", out, (1,), cache, rows=("SB",))


def test_a_lost_row_is_measured_again_with_equal_numbers(records, cache, tmp_path):
    # The zoo is copied: its own training may pick another engine, equal up to rounding only.
    shutil.copytree(cache / "zoos", tmp_path / "cache" / "zoos")
    found = losses("smoke", tmp_path / "r.json", (0,), tmp_path / "cache", rows=("SB",))
    for metric in ("L2", "L2 unmasked", "R2 test accuracy"):
        assert value(found, "SB", metric, "ours") == value(records, "SB", metric, "ours")
    assert value(found, "SB", "L2", "ours") != value(records, "CS", "L2", "ours")


def test_published_numbers_are_context_only(records, out):
    published = [r for r in records if r.kind == "published"]
    assert len(published) == 5 * 3 * 4
    assert value([r for r in published if r.zoo == "CIFAR-10"], "CS", "agreement") == 0.319
    assert value([r for r in published if r.zoo == "CIFAR-10"], "CSB", "agreement") == 0.596
    assert not {r.zoo for r in published} & {r.zoo for r in records if r.kind != "published"}
    assert len(load_records(out)) >= len(records)


def test_the_loss_is_that_of_the_paper(there):
    settings = LossesConfig(recipe="digits", passes=1)
    _, config = module.training_of(there, "CSB", 3, settings)
    assert (config.loss.gamma, config.loss.beta, config.loss.normalize) == (0.05, 0.1, "first")
    assert (config.passes, config.minutes, config.seed) == (1, None, 3)
    assert module.training_of(there, "B", 0, settings)[1].loss.weights == {"behavioral": 1.0}
    with pytest.raises(ConfigError, match="no recipe 'XY'"):
        module.training_of(there, "XY", 0, settings)


def test_unmasked_distances_add_what_is_written_into_padding(there):
    pca = create_encoder("pca", there.spec, latent=4)
    pca.adapt(there.train)
    rebuilt, far = rebuild(pca, there.weights("test"), chunk=3)  # type: ignore[arg-type]
    masked = (rebuilt - there.test_values).norm(dim=1)
    assert torch.allclose(far, masked, rtol=1e-4)
    published = create_encoder("sane", there.spec, 0, dim=8, layers=1, latent=4, skip="none", heads=2)
    published.adapt(there.train)
    rebuilt, far = rebuild(published, there.weights("test"))  # type: ignore[arg-type]
    assert bool((far > (rebuilt - there.test_values).norm(dim=1) * (1 + 1e-6)).all())


def test_published_tables_are_complete():
    counts = {metric: sum(r.metric == metric for r in STRUCTURE) for metric in {r.metric for r in STRUCTURE}}
    assert counts.pop("best accuracy") == 6
    assert set(counts.values()) == {15}
