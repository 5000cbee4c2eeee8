"""`bench prompts`: another architecture and another task from a few networks."""

import pytest

from weightatlas.evaluate.protocols.prompts import Case, Place, prompts
from weightatlas.results import Record

CASES = {
    "wider": {"network": "digits_cnn", "network_options": {"width": 10}},
    "five": {"network": "digits_cnn", "task": "digits", "options": {"classes": 5}},
}


@pytest.fixture(scope="module")
def records(there, cache, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    out = tmp_path_factory.mktemp("prompts") / "r.json"
    return prompts("smoke", out, (0,), cache, cases=CASES)


def methods(records: list[Record], case: str) -> set[str]:
    return {r.method.partition(": ")[2] for r in records if r.method.startswith(case)}


def test_every_case_has_ours_beside_its_baselines(records):
    common = {"SANE around prompts", "prompts", "noise 0.1 around prompts", "from scratch"}
    common |= {"imitation of prompts, near prompts", "fresh networks that imitate prompts"}
    zoo = "the zoo's anchors"
    teachers = {f"imitation of {zoo}, near prompts", f"fresh networks that imitate {zoo}"}
    assert methods(records, "five") == common
    assert methods(records, "wider") == common | teachers  # the zoo's networks answer for its own task alone
    assert {r.metric for r in records} == {"accuracy after 0", "accuracy after 1"}


def test_prompts_were_trained(records):
    start = {r.method: r.value for r in records if r.metric == "accuracy after 0"}
    assert start["wider: prompts"] > start["wider: from scratch"]


def test_networks_with_batch_norm_are_made_ready(there):
    place = Place(there, Case(network="resnet_small", network_options={"widths": [4, 6]}))
    values = place.trained(2, 1, 1e-3, 0)
    broken = values.clone()
    for tensor in place.spec.tensors:
        if tensor.role == "running_var":
            broken[:, place.spec.slices[tensor.name]] = -1.0
    assert not broken.equal(values)
    assert place.ready(broken).allclose(place.ready(values))
