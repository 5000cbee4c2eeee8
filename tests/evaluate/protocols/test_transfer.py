"""`bench transfer`: every method starts on the other task with the same heads."""

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.downstream import FRESH, OURS
from weightatlas.evaluate.protocols.transfer import SCRATCH, carried, transfer
from weightatlas.population.transplant import transplant
from weightatlas.results import Record
from weightatlas.tasks import create_task

METHODS = [OURS, FRESH, f"{OURS}, wider pool", f"{FRESH}, wider pool", "best zoo networks", SCRATCH]


@pytest.fixture(scope="module")
def records(there, cache, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    targets = {
        "five": {"task": "digits", "options": {"classes": 5}},
        "same": {"task": "digits", "head": "keep", "options": {"train_size": 200}},
    }
    out = tmp_path_factory.mktemp("transfer") / "r.json"
    return transfer("smoke", out, (0,), cache, targets=targets, count=4, epochs=(0, 1))


def value(records: list[Record], method: str, metric: str) -> float:
    return next(r.value for r in records if (r.method, r.metric) == (method, metric))


def test_every_method_has_a_curve_on_every_target(records):
    for target in ("five", "same"):
        names = {f"{target}: {method}" for method in [*METHODS, "noise 0.1 around anchors"]}
        assert {r.method for r in records if r.method.startswith(target)} == names
    assert {r.metric for r in records} == {"accuracy after 0", "accuracy after 1"}
    assert {r.kind for r in records if OURS in r.method} == {"ours"}


def test_a_kept_head_knows_the_classes_and_a_new_one_does_not(records, there):
    kept = value(records, "same: best zoo networks", "accuracy after 0")
    assert kept > value(records, "same: from scratch", "accuracy after 0") + 0.1
    best = there.exam.accuracy(there.exam.classes(there.train_values[there.best][None]))
    assert kept <= float(best) + 0.2
    for method in METHODS:
        assert value(records, f"five: {method}", "accuracy after 0") < 0.5


def test_networks_are_built_for_the_classes_of_the_target(there):
    network, spec = carried(there, create_task("digits", classes=5))
    moved = transplant(there.train_values[:2], there.spec, spec, torch.tensor([1, 2]))
    assert moved.shape == (2, there.spec.params - 5 * 21)
    assert list(network.state_dict())[-1] == spec.tensors[-1].name
    with pytest.raises(ConfigError, match="images of shape"):
        carried(there, create_task("digits", image_size=6))
