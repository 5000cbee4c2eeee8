"""Kinds of properties: told from columns, learned as numbers, told back in their own units."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from weightatlas.errors import ConfigError, DataError
from weightatlas.predict import PropertyPredictor
from weightatlas.predict.kinds import Scale, labelled, scales_of
from weightatlas.weights.batch import Batch, batch_of
from weightatlas.weights.infer import infer

SPEC = infer({"fc.weight": (3, 4), "fc.bias": (3,)}).spec
COLUMNS = {
    "test_acc": np.array([0.1, 0.9, 0.5]),
    "hp.lr": np.array([1e-4, 1e-2, 1e-3]),
    "hp.momentum": np.array([0.8, 0.9, 0.95]),
    "hp.optimizer": np.array(["sgd", "adam", "sgd"], dtype=object),
    "label": np.array([9, 10, 0]),
    "step": np.array([1, 20, 300]),
}


class Few:
    """Three networks with properties, as a zoo has them."""

    table = SimpleNamespace(names=tuple(COLUMNS))

    def column(self, name: str) -> np.ndarray:
        return COLUMNS[name if name in COLUMNS else f"hp.{name}"]

    def batch(self, labels: tuple[str, ...] = ()) -> Batch:
        found = {name: torch.from_numpy(self.column(name).astype(np.float32)) for name in labels}
        return batch_of(torch.ones(3, SPEC.params), SPEC, **found)


def test_kinds_are_told_from_columns_and_by_the_caller() -> None:
    names = ("test_acc", "lr", "hp.momentum", "optimizer", "label", "step")
    found = scales_of(Few(), names)
    assert [scale.kind for scale in found] == ["real", "log", "real", "class", "class", "real"]
    assert found[3].classes == ("adam", "sgd")
    assert found[4].classes == ("0", "9", "10")
    assert scales_of(Few(), ("lr",), {"lr": "real"})[0].kind == "real"
    with pytest.raises(ConfigError, match="no kind 'logs'"):
        scales_of(Few(), ("lr",), {"lr": "logs"})
    with pytest.raises(ConfigError, match="'optimizer' is not predicted"):
        scales_of(Few(), ("lr",), {"optimizer": "class"})


def test_values_are_numbers_to_learn_and_come_back() -> None:
    labels = labelled(Few(), scales_of(Few(), ("test_acc", "hp.lr", "hp.optimizer"))).labels
    torch.testing.assert_close(labels["hp.lr"], torch.tensor([-4.0, -2.0, -3.0]))
    assert labels["hp.optimizer"].tolist() == [1, 0, 1]
    assert labels["test_acc"].tolist() == COLUMNS["test_acc"].astype(np.float32).tolist()
    lr = Scale(name="hp.lr", kind="log")
    torch.testing.assert_close(lr.units(labels["hp.lr"]), torch.tensor([1e-4, 1e-2, 1e-3]))
    assert Scale(name="label", kind="class", classes=("3", "7")).answer(1.0) == "7"
    with pytest.raises(DataError, match="not above 0"):
        lr.learned(np.array([0.0, 1.0]))
    with pytest.raises(ConfigError, match="only classes have names"):
        Scale.build({"name": "a", "kind": "real", "classes": ("b",)})


def networks(count: int, seed: int = 0) -> Batch:
    """The logarithm of the rate is the mean of the weights, the class its sign."""
    values = torch.randn(count, SPEC.params, generator=torch.Generator().manual_seed(seed))
    mean = values.mean(1)
    return batch_of(values, SPEC, rate=10**mean, side=(mean > 0).float(), odd=-torch.ones(count))


def test_a_logarithm_is_predicted_in_its_own_units() -> None:
    predictor = PropertyPredictor("weights", kinds={"rate": "log"})
    predictor.fit(networks(80), "rate", networks(60, 1))
    test = networks(50, 2)
    torch.testing.assert_close(predictor.predict(test), test.labels["rate"].double(), rtol=1e-3, atol=1e-3)
    assert predictor.score(test) > 0.999
    low, high = predictor.interval(test)
    assert bool((low > 0).all())
    assert bool((low <= high).all())


@pytest.mark.parametrize("head", ["ridge", "boosting", "committee"])
def test_classes_have_heads_of_their_own_that_are_kept(
    head: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weightatlas.predict.classify.ROUNDS", 10)
    monkeypatch.setattr("weightatlas.predict.classify.TREES", 10)
    predictor = PropertyPredictor("weights", head, kinds={"side": "class"})  # type: ignore[arg-type]
    predictor.fit(networks(80), "side", networks(60, 1))
    test = networks(50, 2)
    assert predictor.score(test) > 0.6
    predictor.save(tmp_path)
    again = PropertyPredictor.load(tmp_path)
    assert torch.equal(again.predict(test), predictor.predict(test))
    assert again.scales_ == predictor.scales_
    with pytest.raises(DataError, match="no interval"):
        predictor.interval(test)


def test_one_head_for_classes_and_numbers_and_one_class_are_refused() -> None:
    mixed = PropertyPredictor("weights", kinds={"side": "class"})
    with pytest.raises(ConfigError, match=r"both classes \(side\) and numbers"):
        mixed.fit(networks(20), ("side", "rate"))
    with pytest.raises(DataError, match="of one class"):
        PropertyPredictor("weights", kinds={"odd": "class"}).fit(networks(20), "odd")
