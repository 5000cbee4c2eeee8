"""Classes of images: the bench runs at smoke size, and classes are classes, not numbers."""

from pathlib import Path

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols import inr_classify as bench
from weightatlas.evaluate.protocols.inr_stage import SignalStage
from weightatlas.evaluate.protocols.inr_training import TrainingConfig, training_of
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.networks import create_network
from weightatlas.predict.finetune import finetune
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Batch, batch_of


def classes(count: int, generator: torch.Generator) -> Batch:
    """Networks whose class is the level of their first bias, in an order that is no order of numbers."""
    spec = spec_of(create_network("siren", coordinates=2, hidden=[4, 4]), (2,))
    values = 0.1 * torch.randn(count, spec.params, generator=generator)
    label = torch.arange(count) % 3
    values[:, spec.slices["0.bias"]] += torch.tensor([0.0, 3.0, -3.0])[label, None]
    return batch_of(values, spec, label=label.float())


@pytest.fixture
def there(tmp_path: Path) -> SignalStage:
    generator = torch.Generator().manual_seed(0)
    parts = {part: classes(45, generator) for part in ("train", "val", "test")}
    return SignalStage("smoke", "levels", parts, tmp_path, torch.device("cpu"), "label", "class")


def accuracy_of(records: list[bench.Record]) -> float:
    return next(record.value for record in records if record.metric == "accuracy")


def test_smoke_tier_is_complete_and_resumable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(bench.BENCH, "smoke", bench.ClassifyConfig, {})
    records = bench.inr_classify("smoke", tmp_path / "r.json", (0,))
    assert {r.method for r in records} == {"majority", bench.BOOSTING, *settings.methods}
    assert all(0 <= r.value <= 1 for r in records if r.metric.startswith("accuracy"))
    monkeypatch.setattr(bench, "image_stage", lambda *_: pytest.fail("measured again"))
    assert len(bench.inr_classify("smoke", tmp_path / "r.json", (0,))) == len(records)


def test_classes_without_an_order_are_learned_and_statistics_tell_them(there: SignalStage) -> None:
    assert accuracy_of(bench.majority(there)) == pytest.approx(1 / 3)
    settings = settings_of(bench.BENCH, "smoke", bench.ClassifyConfig, {})
    assert accuracy_of(bench.boosting_records(there, settings)) > 0.9
    assert accuracy_of(bench.forest_records(there, 0, settings)) > 0.9
    encoder, tuning = training_of(there, "MLP", 0, TrainingConfig(passes=30, batch=15))
    quick = tuning.replace(fit=tuning.fit.replace(lr=0.02))
    found = finetune(encoder, there.parts["train"], ["label"], quick, there.parts["val"])
    assert found.property.targets[0].kind == "class"
    assert accuracy_of(bench.judged(there, "MLP", "ours", found.predict(there.parts["test"])[:, 0], 0)) > 0.8


def test_shapes_and_unknown_methods_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no method 'SNF'"):
        bench.inr_classify("smoke", tmp_path / "r.json", methods="SNF")
    with pytest.raises(ConfigError, match="'primitives' represent no images"):
        bench.inr_classify("smoke", tmp_path / "r.json", recipes="primitives")
