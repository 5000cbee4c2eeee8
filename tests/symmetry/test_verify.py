"""Verification by running: wrong groups are found and fixed, right ones kept."""

import warnings

import pytest
import torch
from torch import nn

from tests.weights.architectures import ARCHITECTURES, build
from weightatlas.errors import SpecError
from weightatlas.networks import create_network, input_shape_of, networks
from weightatlas.symmetry import verify as door
from weightatlas.symmetry.verify import SymmetryWarning, spec_of, verify, without_groups
from weightatlas.weights.spec import NetworkSpec, Segment
from weightatlas.weights.trace import OpaqueWarning, trace


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_group_of_known_structures_is_confirmed(name):
    network, shape, groups = build(name)
    spec, report = verify(network, trace(network, shape))
    assert spec.groups == groups
    assert report.failed == ()
    assert report.error <= 1e-9
    assert all(check.error <= 1e-9 and check.control > 1e-6 for check in report.groups)


@pytest.mark.parametrize("name", networks.names())
def test_every_registered_network_is_confirmed(name):
    network = create_network(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec = spec_of(network, input_shape_of(name))
    assert spec.groups
    trained = sum(p.numel() for p in network.parameters())
    assert int(spec.trainable.sum()) == trained


def tampered(spec: NetworkSpec, name: str, axis: int, group: int | None) -> NetworkSpec:
    """Claim another group for one axis of one tensor."""
    tensors = []
    for tensor in spec.tensors:
        if tensor.name == name:
            axes = list(tensor.axes)
            axes[axis] = (Segment(group=group, members=tensor.shape[axis]),)
            tensor = tensor.replace(axes=tuple(axes))
        tensors.append(tensor)
    return spec.replace(tensors=tuple(tensors))


@pytest.mark.parametrize(
    ("name", "axis", "group", "failing"),
    [
        ("0.weight", 0, None, [0]),
        ("3.bias", 0, 0, [0, 1]),
        ("3.bias", 0, None, [1]),
        ("3.weight", 1, None, [0]),
    ],
)
def test_a_wrong_claim_is_found_and_fixed(name, axis, group, failing):
    network = nn.Sequential(
        nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)
    )
    right = trace(network, (3,))
    spec, report = verify(network, tampered(right, name, axis, group))
    assert [check.group for check in report.failed] == failing
    assert all(check.error > 1e-9 for check in report.failed)
    again, second = verify(network, spec)
    assert second.failed == ()
    assert again == spec


def test_a_claim_on_the_output_axis_is_found():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4))
    spec, report = verify(network, tampered(trace(network, (3,)), "2.weight", 0, 0))
    assert spec.groups == ()
    assert len(report.failed) == 1


def test_a_group_without_any_effect_is_not_believed():
    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.c(x) + 0.0 * self.b(self.a(x))

    network = Deaf()
    spec, report = verify(network, trace(network, (3,)))
    assert spec.groups == ()
    assert report.failed[0].control == 0


class Hidden(nn.Module):
    """A rule sees a plain product, but the constant distinguishes the channels."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0, 4.0]), persistent=False)

    def forward(self, x):
        return self.b(self.a(x) * self.scale)


def test_a_constant_outside_the_state_fixes_its_axis():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OpaqueWarning)
        assert spec_of(Hidden(), (3,)).groups == ()


def test_constants_outside_the_state_change_the_function():
    one, other = Hidden(), Hidden()
    other.scale = torch.ones(4)
    assert trace(one, (3,)).function_id != trace(other, (3,)).function_id


def test_the_door_warns_about_groups_that_fail(monkeypatch):
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 5))
    wrong = tampered(trace(network, (3,)), "2.weight", 0, 0)
    monkeypatch.setattr(door, "trace", lambda *_: wrong)
    with pytest.warns(SymmetryWarning, match=r"Permuting 5 members of 0\.weight"):
        assert spec_of(network, (3,)).groups == ()


def test_the_network_is_not_changed():
    network, shape, _ = build("residual")
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    spec_of(network, shape)
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_removed_groups_number_the_others_anew():
    network, shape, _ = build("cnn_flatten")
    spec = without_groups(trace(network, shape), [1])
    assert spec.groups == (5, 7)
    weight = next(tensor for tensor in spec.tensors if tensor.name == "6.weight")
    assert weight.axes == ((Segment(group=1, members=7),), (Segment(members=16),))


def test_a_spec_without_input_shape_is_a_named_error():
    network, shape, _ = build("mlp_layer_norm")
    bare = trace(network, shape).replace(input_shape=None)
    with pytest.raises(SpecError, match="no input shape"):
        verify(network, bare)


def test_a_network_that_does_not_run_in_float64_is_a_named_error():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 2)

        def forward(self, x):
            return self.a(x) @ self.fixed

    network = Half()
    network.fixed = torch.ones(2, 2)
    with pytest.raises(SpecError, match="Half does not run in float64"):
        spec_of(network, (3,))
