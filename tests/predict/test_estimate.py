"""Estimates for untested networks: intervals, and reasons where there are none."""

import pytest
import torch

from weightatlas.errors import FileError, RunError
from weightatlas.predict import PropertyPredictor
from weightatlas.predict.estimate import Estimate, Estimator
from weightatlas.predict.grades import Grader
from weightatlas.weights.batch import batch_of, weights_of
from weightatlas.weights.infer import infer

SPEC = infer({"fc.weight": (3, 4), "fc.bias": (3,)}).spec


def batch(count: int, scale: float = 0.1):
    values = torch.rand(count, SPEC.params) * scale
    return batch_of(values, SPEC, test_acc=values.mean(1) * 5, epoch=values.sum(1) * 100)


def test_an_interval_holds_most_true_values():
    fitted = PropertyPredictor("weights").fit(batch(100), "test_acc", validation=batch(60))
    test = batch(200)
    (group,) = test.groups
    found = [row[0] for row in Estimator(fitted).estimate(group)]
    inside = [
        e.low <= true <= e.high for e, true in zip(found, test.labels["test_acc"].tolist(), strict=True)
    ]
    assert sum(inside) >= 170


def test_of_too_few_networks_there_is_no_interval_but_a_reason():
    fitted = PropertyPredictor("weights").fit(batch(5), "test_acc")
    ((estimate,),) = Estimator(fitted).estimate(batch(1).groups[0])
    assert estimate.low is None
    assert "no interval" in str(estimate)


def test_a_share_far_outside_is_refused_but_not_other_properties():
    fitted = PropertyPredictor("weights").fit(batch(50), ("test_acc", "epoch"), validation=batch(30))
    far = weights_of(torch.full((1, SPEC.params), 9.0), SPEC)
    ((accuracy, epoch),) = Estimator(fitted).estimate(far)
    assert accuracy.value is None
    assert "is no share" in accuracy.reason
    assert epoch.value is not None


def test_networks_of_another_layout_are_refused_with_both_layouts():
    estimator = Estimator(PropertyPredictor("weights").fit(batch(20), "test_acc"))
    other = infer({"fc.weight": (3, 5), "fc.bias": (3,)}).spec
    assert estimator.spec_of({"fc.weight": (3, 5), "fc.bias": (3,)}, other) is None
    assert SPEC.layout_id[:8] in estimator.refusal(other)
    assert other.layout_id[:8] in estimator.refusal(other)
    assert estimator.spec_of({"fc.weight": (3, 4), "fc.bias": (3,)}, SPEC) == SPEC


def test_a_folder_without_a_predictor_says_how_to_fit_one(tmp_path):
    with pytest.raises(RunError, match="--save"):
        Estimator.open(tmp_path)
    assert str(Estimate("test_acc", 0.5, 0.4, 0.6)) == "0.500 [0.400, 0.600]"


def test_a_grader_of_the_run_recognizes_strangers_and_without_one_a_caution_says_so(tmp_path):
    train, held = batch(150), batch(100)
    fitted = PropertyPredictor("layer_statistics").fit(train, "test_acc", validation=held)
    fitted.save(tmp_path)
    assert "does not recognize strangers" in Estimator.open(tmp_path).caution
    Grader(fitted).fit(train, held).save(tmp_path)
    estimator = Estimator.open(tmp_path)
    assert "by their weights alone" in estimator.caution
    home = [row[0] for row in estimator.estimate(batch(40).groups[0])]
    assert sum(one.low is not None and one.graded for one in home) >= 34
    shuffled = torch.rand(3, SPEC.params).sub(0.5) * 0.1
    ((stranger,), *_) = estimator.estimate(weights_of(shuffled, SPEC))
    assert stranger.value is None
    assert "unlike the networks of" in stranger.reason
    PropertyPredictor("layer_statistics").fit(batch(50), "test_acc", validation=held).save(tmp_path)
    with pytest.raises(FileError, match="another predictor"):
        Estimator.open(tmp_path)


def test_a_class_is_answered_by_its_name():
    networks = batch(60)
    networks.labels["side"] = (networks.labels["test_acc"] > 0.25).float()
    fitted = PropertyPredictor("weights", kinds={"side": "class"}).fit(networks, "side")
    ((estimate,),) = Estimator(fitted).estimate(weights_of(networks.groups[0].values[:1], SPEC))
    assert str(estimate) == str(int(networks.labels["side"][0]))
