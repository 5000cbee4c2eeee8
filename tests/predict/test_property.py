"""The estimator behaves like scikit-learn's and never learns from test networks."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

from weightatlas.config import Config
from weightatlas.encoders.base import Encoded, Encoder
from weightatlas.errors import ConfigError, DataError, RunError, SpecError
from weightatlas.predict import PropertyPredictor
from weightatlas.weights.batch import Batch, Weights, batch_of
from weightatlas.weights.spec import NetworkSpec, Segment, TensorSpec


def spec_of(count: int) -> NetworkSpec:
    axes = ((Segment(members=count),),)
    return NetworkSpec(tensors=(TensorSpec(name="b", shape=(count,), role="bias", axes=axes, layer=0),))


def batch(networks: int = 120, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(networks, 5, generator=generator)
    noise = 0.05 * torch.randn(networks, generator=generator)
    curved = values[:, 0] * values[:, 1]
    return batch_of(values, spec_of(5), test_acc=values.sum(1) + noise, gap=values[:, 0], curved=curved)


@dataclass
class FakeZoo:
    """Rows with a split column, as a zoo has."""

    whole: Batch
    splits: np.ndarray
    split_by: str | None = None

    def batch(self, labels: tuple[str, ...] = ()) -> Batch:
        return replace(self.whole, labels={name: self.whole.labels[name] for name in labels})

    def column(self, name: str) -> np.ndarray:
        """Every two networks of a whole zoo are relatives."""
        if name == "split":
            return self.splits
        if name in self.whole.labels:
            return self.whole.labels[name].numpy()
        assert name == "lineage"
        return (np.arange(len(self.whole)) // 2).astype(str)

    def split(self, name: str) -> "FakeZoo":
        keep = torch.from_numpy(self.splits == name)
        group = self.whole.groups[0]
        labels = {key: value[keep] for key, value in self.whole.labels.items()}
        return FakeZoo(batch_of(group.values[keep], group.spec, **labels), self.splits, "lineage")


def zoo() -> FakeZoo:
    return FakeZoo(batch(), np.array(["train"] * 80 + ["val"] * 20 + ["test"] * 20))


class Doubler(Encoder):
    """Embeds a network as twice its weights."""

    Settings, accepts, name = Config, "any", "doubler"

    def encode(self, weights: Weights) -> Encoded:
        codes = 2 * weights.values[:, None]
        return Encoded(codes, torch.ones(codes.shape[:2], dtype=torch.bool), codes[:, 0])


@pytest.mark.parametrize("source", ["weights", Doubler(Config())])
def test_ridge_finds_a_linear_property(source: object) -> None:
    predictor = PropertyPredictor(source).fit(batch(), "test_acc")
    assert predictor.score(batch(seed=1)) > 0.99
    assert predictor.score(batch(seed=1), "kendall") > 0.9
    assert predictor.score(batch(seed=1), "mae") < 0.1
    assert predictor.predict(batch(seed=1)).shape == (120,)


def test_trees_find_what_ridge_cannot() -> None:
    ridge = PropertyPredictor("weights").fit(batch(600), "curved", validation=batch(seed=2))
    trees = PropertyPredictor("weights", head="boosting").fit(batch(600), "curved", validation=batch(seed=2))
    assert ridge.score(batch(seed=1)) < 0.3
    assert trees.score(batch(seed=1)) > 0.6


def test_a_zoo_is_fitted_on_train_chosen_on_val_scored_on_test() -> None:
    ours = zoo()
    predictor = PropertyPredictor("weights").fit(ours, "test_acc")
    parts = PropertyPredictor("weights").fit(ours.split("train"), "test_acc", validation=ours.split("val"))
    assert torch.equal(predictor.predict(ours), parts.predict(ours))
    assert predictor.score(ours) == parts.score(ours.split("test"))
    ours.whole.labels["test_acc"][100:] = 1e6  # test labels must not matter for the fit
    again = PropertyPredictor("weights").fit(ours, "test_acc")
    assert torch.equal(again.predict(ours), predictor.predict(ours))


def test_several_properties_at_once() -> None:
    both = PropertyPredictor("weights").fit(batch(), ("test_acc", "gap"))
    alone = PropertyPredictor("weights").fit(batch(), "gap")
    assert both.predict(batch(seed=1)).shape == (120, 2)
    torch.testing.assert_close(both.predict(batch(seed=1))[:, 1], alone.predict(batch(seed=1)))


def test_intervals_cover() -> None:
    predictor = PropertyPredictor("weights").fit(batch(), "test_acc", validation=batch(seed=2))
    low, high = predictor.interval(batch(2000, seed=5), level=0.8)
    true = batch(2000, seed=5).labels["test_acc"]
    assert 0.7 < ((low <= true) & (true <= high)).double().mean() < 0.9
    with pytest.raises(DataError, match="without any"):
        PropertyPredictor(Doubler(Config())).fit(batch(), "gap").interval(batch())


def test_intervals_need_no_validation_networks_for_statistics() -> None:
    predictor = PropertyPredictor("weights").fit(batch(), "test_acc")
    assert predictor.calibration_ is not None
    assert len(predictor.calibration_.residuals) == 120
    low, high = predictor.interval(batch(2000, seed=5), level=0.8)
    true = batch(2000, seed=5).labels["test_acc"]
    assert 0.7 < ((low <= true) & (true <= high)).double().mean() < 0.9


def test_relatives_are_never_fitted_on_when_one_is_predicted() -> None:
    """Every network is there twice: only folds that keep pairs together see how far off predictions are."""
    one = batch(60)
    group, noise = one.groups[0], torch.randn(60, generator=torch.Generator().manual_seed(9))
    twice = batch_of(group.values.repeat_interleave(2, 0), group.spec, luck=noise.repeat_interleave(2))
    zoo = FakeZoo(twice, np.array(["train"] * 120), "lineage")
    kin = PropertyPredictor("weights", "boosting").fit(zoo, "luck").calibration_
    alone = PropertyPredictor("weights", "boosting").fit(twice, "luck").calibration_
    assert kin is not None
    assert alone is not None
    assert float(kin.residuals.abs().mean()) > 1.2 * float(alone.residuals.abs().mean())


def test_clone_and_params() -> None:
    encoder = Doubler(Config())
    fitted = PropertyPredictor(encoder, seed=3).fit(batch(), "gap")
    copy = clone(fitted)
    assert copy.encoder is encoder
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "fitted_")
    assert copy.set_params(head="boosting").head == "boosting"
    with pytest.raises(ConfigError, match="no setting 'heads'"):
        copy.set_params(heads="ridge")


@pytest.mark.parametrize("head", ["ridge", "boosting"])
def test_saved_heads_predict_the_same(head: str, tmp_path: Path) -> None:
    data = batch(), ("test_acc", "gap")
    fitted = PropertyPredictor("weights", head=head).fit(*data, validation=batch(seed=2))
    fitted.save(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    loaded = PropertyPredictor.load(tmp_path)
    assert torch.equal(loaded.predict(batch(seed=1)), fitted.predict(batch(seed=1)))
    assert torch.equal(loaded.interval(batch(seed=1))[0], fitted.interval(batch(seed=1))[0])


def test_a_head_asks_for_its_encoder(tmp_path: Path) -> None:
    PropertyPredictor(Doubler(Config())).fit(batch(), "gap").save(tmp_path)
    assert PropertyPredictor.load(tmp_path, Doubler(Config())).score(batch()) > 0.99
    with pytest.raises(RunError, match="'doubler'"):
        PropertyPredictor.load(tmp_path)


def test_mistakes_are_named() -> None:
    with pytest.raises(DataError, match=r"no property 'test_accuracy'[\s\S]*Known: curved, gap, test_acc"):
        PropertyPredictor("weights").fit(batch(), "test_accuracy")
    with pytest.raises(RunError, match="not been fitted"):
        PropertyPredictor().predict(batch())
    with pytest.raises(ConfigError, match="no head 'forest'"):
        PropertyPredictor("weights", head="forest").fit(batch(), "gap")
    with pytest.raises(ConfigError, match="cannot be predicted from 'statistics'"):
        PropertyPredictor("statistics").fit(batch(), "gap")
    other = Weights(torch.zeros(1, 3), spec_of(3), torch.tensor([120]))
    mixed = Batch((*batch().groups, other), {"gap": torch.zeros(121)})
    with pytest.raises(SpecError, match="2 layouts"):
        PropertyPredictor("weights").fit(mixed, "gap")
