"""Weights and biases under other names: the layers are found, tensors keep their own names."""

from itertools import pairwise

import pytest

from weightatlas.weights.family import family_of
from weightatlas.weights.infer import infer
from weightatlas.weights.infer_parameters import usual_names

SIZES = (9, 6, 6, 3)


def layers(weight: str, bias: str, start: int = 0) -> dict[str, tuple[int, ...]]:
    found = {}
    for place, (a, b) in enumerate(pairwise(SIZES)):
        found |= {weight.format(place + start): (a, b), bias.format(place + start): (b,)}
    return found


@pytest.mark.parametrize(
    ("weight", "bias", "start"),
    [
        ("W{}", "b{}", 1),
        ("w_{}", "b_{}", 1),
        ("fc{}_w", "fc{}_b", 1),
        ("coefs_.{}", "intercepts_.{}", 0),
        ("net.weights.{}", "net.biases.{}", 0),
        ("layers.{}.weights.0", "layers.{}.weights.1", 0),
        ("body.l{}._weight", "body.l{}._bias", 0),
        ("dense_{}.kernel", "dense_{}.bias", 0),
    ],
)
def test_layers_are_found_under_other_names(weight, bias, start):
    shapes = layers(weight, bias, start)
    found = infer(shapes)
    assert {tensor.name for tensor in found.spec.tensors} == set(shapes)
    assert [unit[1:3] for unit in found.units] == [(9, 6), (6, 6), (6, 3)]
    assert family_of(found).name.startswith("MLP")


def test_names_that_would_become_one_stay():
    assert usual_names({"W1": (2, 2), "w1": (2, 2)}) == {"W1": "W1", "w1": "w1"}


def test_several_weights_in_a_list_are_several_layers():
    shapes = {"weights.0": (4, 3), "weights.1": (3, 2)}
    assert usual_names(shapes) == {"weights.0": "layer0.weight", "weights.1": "layer1.weight"}
