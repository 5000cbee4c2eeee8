"""Reshapes of ONNX graphs: only what surely keeps the batch is a flatten."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from weightatlas.symmetry.verify import verify
from weightatlas.weights.files import Operation
from weightatlas.weights.infer import infer
from weightatlas.weights.infer_reshape import Reshapes


def op(kind: str, inputs: str, output: str = "", **attributes) -> Operation:
    return Operation(
        op=kind, inputs=tuple(inputs.split()), outputs=tuple(output.split()), attributes=attributes
    )


class PerChannel(nn.Module):
    """A layer over the positions of each channel; there are as many positions as channels."""

    shape = (1, 2, 2)

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc1, self.fc2 = nn.Conv2d(1, 4, 1), nn.Linear(4, 3), nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.fc1(F.relu(self.conv(x)).reshape(-1, 4)))
        return self.fc2(x.reshape(-1, 12))


def per_channel(**attributes) -> tuple[Operation, ...]:
    return (
        op("Conv", "x conv.weight conv.bias", "1"),
        op("Relu", "1", "2"),
        op("Reshape", "2 first", "3", **attributes),
        op("Gemm", "3 fc1.weight fc1.bias", "4", transB=1),
        op("Relu", "4", "5"),
        op("Reshape", "5 second", "6", shape=[-1, 12]),
        op("Gemm", "6 fc2.weight fc2.bias", "y", transB=1),
        op("Output", "y"),
    )


@pytest.mark.parametrize("attributes", [{}, {"shape": [-1, 4]}, {"shape": [8, 4]}])
def test_positions_read_channel_by_channel_are_no_flatten(attributes):
    network = PerChannel()
    found = infer(network.state_dict(), graph=per_channel(**attributes))
    assert not verify(network, found.spec, network.shape)[1].failed
    assert "flatten" not in found.explain("boundary")


@pytest.mark.parametrize(
    ("attributes", "kept"),
    [
        ({"shape": [0, -1]}, True),
        ({"shape": [0, 16], "allowzero": 1}, False),
        ({"shape": [1, 16]}, True),
        ({"shape": [6, -1]}, True),
        ({"shape": [8, -1]}, False),
        ({"shape": [-1, 16]}, True),
        ({"shape": [2, 4, -1]}, True),
        ({}, False),
    ],
)
def test_constant_targets(attributes, kept):
    step = op("Reshape", "a target", "b", **attributes)
    assert Reshapes((step,)).keeps_batch(step, 4) is kept


def test_a_target_that_begins_with_the_number_of_inputs_keeps_them_apart():
    step = op("Reshape", "a target", "b", shape=[8, -1])
    ends = [Operation(op="Output", inputs=("b",), attributes={"batch": batch}) for batch in (8, 2)]
    assert [Reshapes((step, end)).keeps_batch(step, 4) for end in ends] == [True, False]


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        ([op("Gather", "s zero", "n"), op("Unsqueeze", "n", "u"), op("Concat", "u rest", "target")], True),
        ([op("Slice", "s zero one", "u"), op("Concat", "u rest", "target")], True),
        ([op("Gather", "s zero", "n"), op("Mul", "n c", "u"), op("Concat", "u rest", "target")], False),
        ([op("Concat", "target rest", "target")], False),
    ],
)
def test_computed_targets_are_followed_to_the_batch(made, kept):
    step = op("Reshape", "a target", "b")
    assert Reshapes((op("Shape", "a", "s"), *made, step)).keeps_batch(step, 4) is kept


def test_a_graph_of_many_reshapes_is_followed_once():
    class Counted(tuple):
        passes = 0

        def __iter__(self):
            Counted.passes += 1
            return super().__iter__()

    steps = [op("Reshape", "1 target", f"{i + 1}", shape=[-1, 9]) for i in range(1, 100)]
    graph = Counted((op("Conv", "x conv.weight", "1"), *steps, op("Output", "100")))
    infer({"conv.weight": (4, 1, 3, 3)}, graph=graph)
    few = Counted.passes
    Counted.passes = 0
    infer({"conv.weight": (4, 1, 3, 3)}, graph=Counted((graph[0], *steps[:9], op("Output", "10"))))
    assert few == Counted.passes
