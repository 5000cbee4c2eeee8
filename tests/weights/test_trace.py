"""Tracing: shapes, roles, layers, aliases, the layer graph, and what is not understood."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.weights.architectures import ARCHITECTURES, Words, build
from weightatlas.errors import SpecError
from weightatlas.weights.spec import Segment
from weightatlas.weights.trace import OpaqueWarning, trace


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_groups_are_found(name):
    network, shape, groups = build(name)
    assert trace(network, shape).groups == groups


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tensors_follow_the_state_dict(name):
    network, shape, _ = build(name)
    spec = trace(network, shape)
    named = dict(network.named_parameters()) | {
        key: buffer for key, buffer in network.named_buffers() if buffer.is_floating_point()
    }
    order = [key for key in network.state_dict() if key in named]
    assert [tensor.name for tensor in spec.tensors] == order
    assert [tensor.shape for tensor in spec.tensors] == [tuple(named[key].shape) for key in order]
    assert [tensor.trainable for tensor in spec.tensors] == [named[key].requires_grad for key in order]


def test_the_flatten_boundary_keeps_positions_together():
    network, shape, _ = build("cnn_flatten")
    weight = next(t for t in trace(network, shape).tensors if t.name == "6.weight")
    assert weight.axes == ((Segment(group=2, members=7),), (Segment(group=1, members=4, positions=4),))


def test_roles_and_layers():
    spec = trace(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)), (3,))
    assert [tensor.role for tensor in spec.tensors] == [
        "weight", "bias", "norm_scale", "norm_shift", "running_mean", "running_var", "weight", "bias",
    ]  # fmt: skip
    assert [tensor.layer for tensor in spec.tensors] == [0, 0, 1, 1, 1, 1, 2, 2]
    assert [tensor.trainable for tensor in spec.tensors] == [True] * 4 + [False] * 2 + [True] * 2


def test_attention_roles():
    network, shape, _ = build("attention")
    roles = {tensor.name: tensor.role for tensor in trace(network, shape).tensors}
    assert (roles["pos"], roles["cls"], roles["norm1.weight"]) == ("position", "other", "norm_scale")


def test_layers_count_in_execution_order():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(4, 2), nn.Linear(3, 4)

        def forward(self, x):
            return self.last(self.first(x))

    assert {t.name: t.layer for t in trace(Backwards(), (3,)).tensors} == {
        "last.weight": 1, "last.bias": 1, "first.weight": 0, "first.bias": 0,
    }  # fmt: skip


def test_tied_tensors_appear_once():
    spec = trace(Words(), (4,))
    weight = next(tensor for tensor in spec.tensors if tensor.name == "first.weight")
    assert weight.aliases == ("second.weight",)
    assert "second.weight" not in [tensor.name for tensor in spec.tensors]


def test_the_graph_holds_order_attributes_and_tensors():
    network = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.Dropout(0.3), nn.LeakyReLU(0.2), nn.Flatten())
    graph = trace(network, (1, 5, 5)).graph
    assert [node.op for node in graph] == ["input", "conv2d", "leaky_relu", "flatten", "output"]
    assert [node.inputs for node in graph] == [(), (0,), (1,), (2,), (3,)]
    assert graph[1].attributes["stride"] == [2, 2]
    assert graph[1].tensors == (0, 1)
    assert graph[2].attributes == {"negative_slope": 0.2}


def test_the_graph_keeps_repeated_inputs():
    class Double(nn.Module):
        def forward(self, x):
            return x - x * 2

    ops = [(node.op, node.inputs) for node in trace(Double(), (3,)).graph]
    assert ops == [("input", ()), ("mul", (0,)), ("sub", (0, 1)), ("output", (2,))]


def test_modules_and_functions_that_do_the_same_share_a_function_id():
    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.b(F.relu(self.a(x)))

    stacked = trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2)), (3,))
    assert trace(Written(), (3,)).function_id == stacked.function_id


@pytest.mark.parametrize(
    "change", [nn.Conv2d(1, 2, 3, stride=2), nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(1, 2, 3, dilation=2)]
)
def test_settings_change_the_function_id_alone(change):
    plain, other = trace(nn.Conv2d(1, 2, 3), (1, 8, 8)), trace(change, (1, 8, 8))
    assert plain.layout_id == other.layout_id
    assert plain.function_id != other.function_id


def test_activations_change_the_function_id():
    ids = {
        trace(nn.Sequential(nn.Linear(2, 2), act), (2,)).function_id
        for act in (nn.ReLU(), nn.Tanh(), nn.ELU())
    }
    assert len(ids) == 3


def test_a_network_is_not_changed():
    network, shape, _ = build("residual")
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    trace(network, shape)
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert next(network.parameters()).device.type == "cpu"


class Loop(nn.Module):
    """Code that depends on data: symbolic tracing fails in it."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(x) if x.sum() > 0 else self.inner(-x)


def test_an_untraceable_submodule_is_kept_whole_and_fixed():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), Same(), nn.Linear(4, 6), nn.Linear(6, 2))
    with pytest.warns(OpaqueWarning, match="2"):
        spec = trace(network, (3,))
    assert spec.groups == (6,)
    assert "opaque" in [node.op for node in spec.graph]


class Same(Loop):
    """Depends on data in a way that fake tensors can follow."""

    def forward(self, x):
        return self.inner(x) if int(x.shape[0]) >= 0 and bool(x.ndim > 1) else x


@pytest.mark.parametrize("pick", [lambda found: found[0], lambda found: found.values])
def test_maxima_over_a_fixed_axis_keep_the_others(pick):
    class Maxout(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 8), nn.Linear(4, 2)

        def forward(self, x):
            return self.b(pick(self.a(x).view(-1, 4, 2).max(dim=-1)))

    assert trace(Maxout(), (3,)).groups == (4,)


def test_an_operation_without_a_rule_fixes_its_axes():
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.b(torch.fft.fft(self.a(x)).real)

    with pytest.warns(OpaqueWarning, match="fft"):
        assert trace(Sorted(), (3,)).groups == ()


def test_recurrent_layers_are_opaque():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.rnn(x)[0].mean(1))

    with pytest.warns(OpaqueWarning, match="gru"):
        spec = trace(Recurrent(), (5, 3))
    assert spec.groups == ()
    assert spec.params == sum(p.numel() for p in Recurrent().parameters())


def test_unused_tensors_are_fixed():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    network.register_parameter("spare", nn.Parameter(torch.zeros(5)))
    spec = trace(network, (3,))
    assert next(t for t in spec.tensors if t.name == "spare").axes == ((Segment(members=5),),)


def test_code_that_cannot_be_traced_is_a_named_error():
    with pytest.raises(SpecError, match="cannot be traced"):
        trace(Loop(), (4,))


def test_a_wrong_input_shape_is_a_named_error():
    with pytest.raises(SpecError, match=r"Sequential does not run on an input of shape \(3, 8, 8\)"):
        trace(nn.Sequential(nn.Conv2d(1, 2, 3)), (3, 8, 8))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_known_operations_give_no_warning(name):
    network, shape, _ = build(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace(network, shape)
