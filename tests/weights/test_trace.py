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


class Between(nn.Module):
    """Two linear layers, and something between them."""

    def __init__(self, between):
        super().__init__()
        self.a, self.b, self.between = nn.Linear(3, 4), nn.Linear(4, 2), between

    def forward(self, x):
        return self.b(self.between(self.a(x)))


class Rectified(nn.Module):
    """Adds what was rectified to what it was made of, which changes if it is rectified in place."""

    def __init__(self, inplace):
        super().__init__()
        self.relu = nn.ReLU(inplace)

    def forward(self, x):
        return self.relu(x) + x


class Attending(nn.Module):
    """Hands queries, keys and values over by name."""

    def __init__(self, *names):
        super().__init__()
        self.first, self.second, self.names = nn.Linear(4, 4), nn.Linear(4, 4), names
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        found = dict(zip(self.names, (x, self.first(x), self.second(x)), strict=True))
        return self.attention(**found)[0]


def written(function):
    return lambda: Between(function), (3,)


def in_transformer(**options):
    return lambda: nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, **options)), (5, 4)


def normed(training):
    moments = torch.zeros(4), torch.ones(4)
    return written(lambda h: F.batch_norm(h, *moments, training=training, momentum=0.0))


DIFFERENT = {
    "power of a norm": (
        written(lambda h: h * h.norm(p=1, dim=1, keepdim=True)),
        written(lambda h: h * h.norm(p=2, dim=1, keepdim=True)),
    ),
    "power to normalize by": (written(lambda h: F.normalize(h, p=1.0)), written(F.normalize)),
    "power of pooling": (
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.LPPool2d(1, 2)), (1, 8, 8)),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.LPPool2d(2, 2)), (1, 8, 8)),
    ),
    "statistics of the batch": (normed(True), normed(False)),
    "activation of a transformer": (in_transformer(), in_transformer(activation="gelu")),
    "axes of a transformer": (in_transformer(), in_transformer(batch_first=True)),
    "axes of a recurrent layer": (
        (lambda: nn.Sequential(nn.GRU(3, 4)), (5, 3)),
        (lambda: nn.Sequential(nn.GRU(3, 4, batch_first=True)), (5, 3)),
    ),
    "bounded embedding": (
        (lambda: nn.Sequential(nn.Embedding(5, 4)), (3,)),
        (lambda: nn.Sequential(nn.Embedding(5, 4, max_norm=0.5)), (3,)),
    ),
    "order of pieces": (
        written(lambda h: torch.cat(h.chunk(2, 1)[::-1], 1)),
        written(lambda h: torch.cat(h.chunk(2, 1), 1)),
    ),
    "written over": (
        (lambda: Between(Rectified(True)), (3,)),
        (lambda: Between(Rectified(False)), (3,)),
    ),
    "names of arguments": (
        (lambda: Attending("query", "key", "value"), (5, 4)),
        (lambda: Attending("query", "value", "key"), (5, 4)),
    ),
}


@pytest.mark.filterwarnings("ignore::weightatlas.weights.trace.OpaqueWarning")
@pytest.mark.parametrize("what", DIFFERENT)
def test_different_functions_of_one_layout_have_different_ids(what):
    one, other = (trace(make(), shape) for make, shape in DIFFERENT[what])
    assert one.layout_id == other.layout_id
    assert one.function_id != other.function_id


def test_the_way_of_writing_does_not_change_the_function_id():
    def same(first, other):
        assert trace(first(), (5, 4)).function_id == trace(other(), (5, 4)).function_id

    same(lambda: Attending("query", "key", "value"), lambda: Attending("query", "key", "value"))
    stacked = [nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace), nn.Linear(4, 4)) for inplace in (True, False)]
    same(lambda: stacked[0], lambda: stacked[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_any_precision_are_traced(dtype):
    def make():
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 3))

    assert trace(make().to(dtype), (1, 8, 8)) == trace(make(), (1, 8, 8))


def test_complex_numbers_and_uncopyable_networks_are_named_errors():
    phase = nn.Linear(3, 4)
    phase.register_parameter("phase", nn.Parameter(torch.zeros(4, dtype=torch.complex64)))
    with pytest.raises(SpecError, match="'phase' holds complex numbers"):
        trace(phase, (3,))
    with pytest.raises(SpecError, match="Linear cannot be copied"):
        trace(nn.Linear(3, 4, device="meta"), (3,))


def test_a_network_is_not_changed():
    network, shape, _ = build("residual")
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    trace(network, shape)
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert next(network.parameters()).device.type == "cpu"


@pytest.mark.parametrize("masks", [{}, {"src_mask": None, "src_key_padding_mask": None}])
def test_a_transformer_that_is_given_no_mask_has_none(masks):
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), nn.Linear(4, 2)
            self.embed = nn.Linear(3, 4)

        def forward(self, x):
            return self.head(self.inner(self.embed(x), **masks).mean(1))

    assert trace(Encoder(), (5, 3)).groups == (2, 4, 6)


def test_nothing_can_be_reshaped():
    class Empty(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            h = self.a(x)
            return self.b(h) + h[:, :0].reshape(-1).sum()

    assert trace(Empty(), (3,)).groups == (4,)


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


def test_a_submodule_that_looks_at_numbers_is_kept_whole():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), Loop(), nn.Linear(4, 6), nn.Linear(6, 2))
    with pytest.warns(OpaqueWarning, match="2"):
        assert trace(network, (3,)).groups == (6,)


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
