"""Networks in nested content: one or several, whatever they are wrapped in."""

import pytest
import torch

from weightatlas.weights.files.leaf import leaf_of
from weightatlas.weights.files.tree import networks_in

MATRIX, VECTOR, NUMBER = leaf_of(torch.ones(3, 2)), leaf_of(torch.ones(3)), leaf_of(torch.tensor(1.0))
STATE = {"0.weight": MATRIX, "0.bias": VECTOR}
LAYER = {"kernel": MATRIX, "bias": VECTOR}
NORM = {"B": {"mean": VECTOR}}
ADAM = {"state": {"0": {"exp_avg": MATRIX}}, "param_groups": [{}]}


def found(content):
    return {name: list(group.leaves) for name, group in networks_in(content)[0]}


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (STATE, {"": ["0.weight", "0.bias"]}),
        ({"a": {"b": {"c": STATE}}, "epoch": 3}, {"": ["0.weight", "0.bias"]}),
        ({"actor": STATE, "critic": STATE}, {"actor": list(STATE), "critic": list(STATE)}),
        ({"actor": {"sd": STATE}, "critic": {"sd": STATE}}, {"actor": list(STATE), "critic": list(STATE)}),
        ({"run": {"G": STATE, "D": STATE}, "optG": ADAM}, {"G": list(STATE), "D": list(STATE)}),
        ([STATE, STATE], {"0": list(STATE), "1": list(STATE)}),
        ({"ema": STATE, "net": STATE}, {"net": list(STATE), "ema": list(STATE)}),
        ({"semantic": STATE, "net": STATE}, {"semantic": list(STATE), "net": list(STATE)}),
        ({"params": {"A": LAYER, "B": LAYER}}, {"": ["A.kernel", "A.bias", "B.kernel", "B.bias"]}),
        ({"params": {"A": LAYER}, "batch_stats": NORM}, {"": ["A.kernel", "A.bias", "B.mean"]}),
        ({"cls": VECTOR, "block": {"Dense": LAYER}}, {"": ["cls", "block.Dense.kernel", "block.Dense.bias"]}),
        ([MATRIX, VECTOR, MATRIX], {"": ["0", "1", "2"]}),
        ([[MATRIX, VECTOR], [MATRIX, VECTOR]], {"": ["0.0", "0.1", "1.0", "1.1"]}),
        ({"state_dict": STATE, "rng": VECTOR, "loss": NUMBER}, {"": list(STATE)}),
        ({"model": STATE, "normalizer": {"mean": VECTOR, "std": VECTOR}}, {"": list(STATE)}),
        (ADAM, {}),
        ({"epoch": 3}, {}),
    ],
)  # fmt: skip
def test_networks_are_found(content, wanted):
    assert found(content) == wanted
    assert list(found(content)) == list(wanted)


def test_every_key_that_is_in_no_network_has_a_reason():
    content = {
        "model": STATE,
        "optimizer": ADAM,
        "epoch": 3,
        "loss": NUMBER,
        "swa_optim": {"momentum": MATRIX},
    }
    _, skipped, cut = networks_in(content)
    assert skipped == {
        "optimizer": "optimizer state",
        "epoch": "not a tensor (int)",
        "loss": "a tensor beside the network",
        "swa_optim": "optimizer state",
    }
    assert not cut


def test_a_container_inside_itself_ends():
    loop: dict = {"0.weight": MATRIX}
    loop["self"] = loop
    assert sum(len(group.leaves) for _, group in networks_in(loop)[0]) < 20
