"""Graphs of ONNX files: groups must hold when the network they describe is run."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.weights import named
from weightatlas.symmetry.verify import verify
from weightatlas.weights.family import family_of
from weightatlas.weights.files import Operation
from weightatlas.weights.infer import infer


def op(kind: str, inputs: str, output: str = "", **attributes) -> Operation:
    return Operation(
        op=kind, inputs=tuple(inputs.split()), outputs=tuple(output.split()), attributes=attributes
    )


def layer(kind: str, x: str, name: str, out: str, **attributes) -> Operation:
    return op(kind, f"{x} {name}.weight {name}.bias", out, **attributes)


class Residual(nn.Module):
    """Sums of equal widths, which names and shapes alone cannot tell from a chain."""

    shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = (
            nn.Conv2d(3, 8, 3, 1, 1),
            nn.Conv2d(8, 8, 3, 1, 1),
            nn.Conv2d(8, 8, 3, 1, 1),
        )
        self.norm, self.fc1, self.fc2 = nn.BatchNorm2d(8), nn.Linear(128, 12), nn.Linear(12, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = x + self.norm(self.b(F.relu(self.a(x))))
        return self.fc2(F.relu(self.fc1(F.max_pool2d(x, 2).flatten(1))))


RESIDUAL = (
    layer("Conv", "x", "stem", "1"),
    op("Relu", "1", "2"),
    layer("Conv", "2", "a", "3"),
    op("Relu", "3", "4"),
    layer("Conv", "4", "b", "5"),
    op("BatchNormalization", "5 norm.weight norm.bias norm.running_mean norm.running_var", "6"),
    op("Add", "2 6", "7"),
    op("MaxPool", "7", "8"),
    op("Flatten", "8", "9"),
    layer("Gemm", "9", "fc1", "10", transB=1),
    op("Relu", "10", "11"),
    layer("Gemm", "11", "fc2", "y", transB=1),
    op("Output", "y"),
)


class Joined(nn.Module):
    shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1), nn.Conv2d(10, 7, 1)
        self.fc = nn.Linear(7, 3)

    def forward(self, x):
        x = torch.cat([torch.tanh(self.a(x)), self.b(x)], 1)
        return self.fc(F.relu(self.c(x)).mean((2, 3)))


JOINED = (
    layer("Conv", "x", "a", "1"),
    op("Tanh", "1", "2"),
    layer("Conv", "x", "b", "3"),
    op("Concat", "2 3", "4", axis=1),
    layer("Conv", "4", "c", "5"),
    op("Relu", "5", "6"),
    op("GlobalAveragePool", "6", "7"),
    op("Flatten", "7", "8"),
    layer("Gemm", "8", "fc", "y"),
    op("Output", "y"),
)

MLP = (
    op("MatMul", "x fc1.weight", "1"),
    op("Add", "1 fc1.bias", "2"),
    op("Relu", "2", "3"),
    op("MatMul", "3 fc2.weight", "4"),
    op("Add", "4 fc2.bias", "5"),
    op("Relu", "5", "6"),
    op("MatMul", "6 fc3.weight", "7"),
    op("Add", "fc3.bias 7", "y"),
    op("Output", "y"),
)


@pytest.mark.parametrize(
    ("make", "graph", "groups"),
    [(Residual, RESIDUAL, (8, 8, 12)), (Joined, JOINED, (4, 6, 7)), (named.ClassMLP, MLP, (32, 32))],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_groups_of_graphs_hold_when_the_network_is_run(make, graph, groups):
    network = make()
    found = infer(network.state_dict(), graph=graph)
    assert found.spec.groups == groups
    _, report = verify(network, found.spec, network.shape)
    assert not report.failed
    assert {tensor.name for tensor in found.spec.tensors} == {
        name for name, tensor in network.state_dict().items() if tensor.is_floating_point()
    }


def test_roles_order_and_family_come_from_the_operations():
    found = infer(Residual().state_dict(), graph=RESIDUAL)
    assert [tensor.role for tensor in found.spec.tensors[4:]] == [
        *("weight", "bias", "norm_scale", "norm_shift", "running_mean", "running_var"),
        *("weight", "bias", "weight", "bias"),
    ]
    assert [tensor.layer for tensor in found.spec.tensors[:4]] == [0, 0, 1, 1]
    assert family_of(found).name == "CNN 3 conv + 2 linear"
    assert "flatten of 8 channels × 16 positions" in found.explain("boundary")


def replaced(graph, place: int, *new: Operation):
    return (*graph[:place], *new, *graph[place + 1 :])


@pytest.mark.parametrize(
    ("graph", "groups"),
    [
        (replaced(MLP, 2, op("Shuffle", "2", "3")), (32,)),  # an unknown operation
        (replaced(MLP, 8, op("Output", "y 3")), (32,)),  # a hidden value is returned, too
        (replaced(MLP, 2, op("If", "2", "3")), ()),  # operations inside may read anything
        (replaced(MLP, 2, op("Transpose", "2", "3", perm=[1, 0])), (32,)),
        (replaced(MLP, 2, op("Reshape", "2 shape", "3")), (32,)),
        (replaced(MLP, 3, op("MatMul", "3 fc1.weight", "4")), ()),  # one matrix in two places
    ],
)
def test_what_a_rule_does_not_cover_is_fixed(graph, groups):
    shapes = {name: tuple(t.shape) for name, t in named.ClassMLP().state_dict().items()}
    assert infer(shapes, graph=graph).spec.groups == groups


class FromInput(nn.Module):
    """Adds its input to a hidden layer of the same width."""

    shape = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)) + x)


FROM_INPUT = (
    layer("Gemm", "x", "fc1", "1"),
    op("Relu", "1", "2"),
    op("Add", "2 x", "3"),
    layer("Gemm", "3", "fc2", "y"),
    Operation(op="Output", inputs=("y",), attributes={"inputs": ["x"]}),
)


def test_what_meets_the_input_of_the_network_is_fixed():
    network = FromInput()
    found = infer(network.state_dict(), graph=FROM_INPUT)
    assert not verify(network, found.spec, network.shape)[1].failed
    assert found.spec.groups == ()
    assert infer(network.state_dict(), graph=replaced(FROM_INPUT, 2, op("Relu", "2", "3"))).spec.groups == (
        8,
    )


@pytest.mark.parametrize(("axes", "groups"), [((2, 3), (7,)), ((-1, -2), (7,)), ((-2,), ()), ((1,), ())])
def test_only_positions_may_be_averaged(axes, groups):
    graph = replaced(JOINED, 6, op("ReduceMean", "6", "7", axes=list(axes)))
    found = infer(Joined().state_dict(), graph=graph).spec.groups
    assert found == (4, 6, *groups)


def test_a_file_is_followed_to_its_outputs(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    from weightatlas.weights.files import read_checkpoint

    state = named.ClassMLP().state_dict()
    tensors = [
        numpy_helper.from_array((t.T if t.ndim == 2 else t).contiguous().numpy(), name)
        for name, t in state.items()
    ]
    nodes = [helper.make_node(o.op, list(o.inputs), list(o.outputs)) for o in MLP[:-1]]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", 1, [1, 12])], [value("y", 1, [1, 10])], tensors)
    onnx.save(helper.make_model(graph, ir_version=8), str(tmp_path / "mlp.onnx"))
    stored = read_checkpoint(tmp_path / "mlp.onnx").network
    assert (stored.graph[-1].op, stored.graph[-1].attributes) == ("Output", {"inputs": ["x"], "batch": 1})
    assert infer(stored.tensors, graph=stored.graph).spec.groups == (32, 32)
