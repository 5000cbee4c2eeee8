"""Recurrent layers in the forms people store them: all their axes stay fixed, whatever reads them is told."""

import pytest
import torch
from torch import nn

from weightatlas.weights.family import family_of
from weightatlas.weights.infer import infer

KERAS = {
    "lstm.weight": (32, 5),
    "lstm.recurrent_weight": (32, 8),
    "lstm.bias": (32,),
    "dense.weight": (3, 8),
    "dense.bias": (3,),
}


@pytest.mark.parametrize(
    ("shapes", "name"),
    [
        ({k: tuple(v.shape) for k, v in nn.LSTMCell(5, 8).state_dict(prefix="cell.").items()}, "1 x 8"),
        ({k: tuple(v.shape) for k, v in nn.GRUCell(5, 8).state_dict().items()}, "1 x 8"),
        ({k: tuple(v.shape) for k, v in nn.LSTM(5, 16, 2, proj_size=8).state_dict().items()}, "2 x 8"),
        ({k: tuple(v.shape) for k, v in nn.RNN(5, 8, bidirectional=True).state_dict().items()}, "1 x 8"),
        (KERAS, "1 x 8"),
    ],
    ids=["cell", "bare cell", "projected", "both ways", "keras"],
)
def test_a_recurrent_layer_is_recognized_and_fixed(shapes, name):
    found = infer(shapes)
    assert family_of(found).name == f"recurrent {name}"
    assert found.spec.groups == ()
    roles = {tensor.role for tensor in found.spec.tensors}
    assert roles <= {"weight", "bias"}


def test_what_reads_a_layer_of_both_ways_is_explained():
    network = nn.ModuleDict({"lstm": nn.LSTM(5, 8, bidirectional=True), "fc": nn.Linear(16, 3)})
    units = infer(network.state_dict()).units
    assert [unit[:3] for unit in units] == [("recurrent", 5, 16), ("linear", 16, 3)]


def test_a_single_layer_without_a_module_is_that_layer():
    found = infer({"weight": torch.zeros(12, 3, 5), "bias": torch.zeros(12)})
    assert [(unit[0], unit[1], unit[2]) for unit in found.units] == [("conv", 3, 12)]
    assert found.spec.groups == ()
