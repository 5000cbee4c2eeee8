"""Health: each defect is found where it was made, with its numbers, and healthy networks are left alone."""

import math

import pytest
import torch
from torch import nn

from weightatlas.networks import create_network
from weightatlas.relate.health import examine, examine_tensors
from weightatlas.weights.batch import Weights, weights_of
from weightatlas.weights.infer import infer
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import flatten


def trained_like(network: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Weights that no initialization draws: a common direction, scales by row, shifted biases."""
    torch.manual_seed(seed)
    state = {}
    for name, tensor in network.state_dict().items():
        value = torch.randn(tensor.shape) * 0.1 + 0.05
        if tensor.ndim > 1:
            value = value * torch.linspace(0.5, 3, tensor.shape[0]).reshape(-1, *[1] * (tensor.ndim - 1))
        state[name] = value
    return state


@pytest.fixture
def networks() -> Weights:
    network = create_network("lenet5", channels_in=1, image_size=28)
    states = [trained_like(network, seed) for seed in range(4)]
    spec = infer(states[0]).spec
    return weights_of(flatten(states, spec), spec)


def spoil(networks: Weights, name: str, change) -> Weights:
    """Change one tensor of network 2 in place."""
    tensor = next(tensor for tensor in networks.spec.tensors if tensor.name == name)
    values = networks.values.clone()
    part = values[2, networks.spec.slices[name]].reshape(tensor.shape)
    change(part)
    values[2, networks.spec.slices[name]] = part.reshape(-1)
    return weights_of(values, networks.spec)


def test_healthy_networks_are_ok(networks):
    found = examine(networks)
    assert found.findings == ()
    assert [found.verdict(row) for row in range(4)] == ["ok"] * 4
    assert found.coverage == 1.0
    assert [spectrum.tensor for spectrum in found.spectra] == [
        "0.weight",
        "3.weight",
        "7.weight",
        "9.weight",
        "11.weight",
    ]


def nan_and_infinite(part):
    part[0, 0], part[1, 1] = math.nan, math.inf


def zero(part):
    part.zero_()


def dead(part):
    part[3] = 0


def unread_channel(part):
    part[:, 25:50] = 0


def blown(part):
    part.mul_(1e4)


def collapsed(part):
    part.copy_(torch.outer(torch.ones(len(part)), part[0]))


@pytest.mark.parametrize(
    ("name", "change", "kind", "words"),
    [
        ("9.weight", nan_and_infinite, "not finite", "1 NaN and 1 infinite of 10,080 values"),
        ("9.weight", zero, "zero layer", "all 10,080 values"),
        ("9.weight", dead, "dead units", "1 of 84 units has only zero incoming weights (unit 0-based: 3)"),
        ("7.weight", unread_channel, "unused units", "only zero outgoing weights"),
        ("9.weight", blown, "exploding", "times that of a Kaiming"),
        ("9.weight", collapsed, "rank collapse", "effective rank 1.00 of 84"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_defect_is_named_with_tensor_and_numbers(networks, name, change, kind, words):
    found = examine(spoil(networks, name, change))
    (finding,) = found.findings
    assert (finding.network, finding.tensor, finding.kind) == (2, name, kind)
    assert words in finding.text
    assert found.verdict(2) == f"1 {kind}"
    assert found.verdict(1) == "ok"


def test_an_unread_channel_counts_its_positions_once(networks):
    sides = {tensor.name: tensor.axes[1][0] for tensor in networks.spec.tensors if len(tensor.axes) > 1}
    assert (sides["7.weight"].members, sides["7.weight"].positions) == (16, 16)
    (finding,) = examine(spoil(networks, "7.weight", lambda part: part[:, 32:48].zero_())).findings
    assert finding.text.startswith("1 of 16 units has only zero outgoing weights (unit 0-based: 2)")


def test_copies_inside_a_network_are_found():
    layers = [nn.Linear(12, 12) for _ in range(3)]
    state = trained_like(nn.Sequential(*layers), 0)
    state["2.weight"] = state["0.weight"].clone()
    spec = infer(state).spec
    (finding,) = examine(weights_of(flatten([state], spec), spec)).findings
    assert (finding.tensor, finding.kind) == ("0.weight = 2.weight", "duplicate")


@pytest.mark.parametrize(
    "init", ["default", nn.init.kaiming_normal_, nn.init.xavier_uniform_, nn.init.orthogonal_]
)
def test_fresh_networks_look_untrained(init):
    states = []
    for seed in range(20):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 16))
        for layer in network:
            if isinstance(layer, nn.Linear) and callable(init):
                init(layer.weight)
        states.append(network.state_dict())
    spec = infer(states[0]).spec
    found = examine(weights_of(flatten(states, spec), spec))
    verdicts = [found.verdict(row) for row in range(20)]
    assert sum("untrained" in verdict for verdict in verdicts) >= 14  # each layer is missed in 4 %


def test_norms_at_their_start_are_noted():
    state = create_network("resnet_small").state_dict()
    spec = infer(state).spec
    found = examine(weights_of(flatten([state], spec), spec)).of(0)
    text = next(finding.text for finding in found if finding.tensor == "1.weight")
    assert text == "all 8 values are exactly 1, as before training"


def test_half_precision_is_examined_tensor_by_tensor(networks):
    halves = {
        tensor.name: networks.values[:, networks.spec.slices[tensor.name]].reshape(4, *tensor.shape).half()
        for tensor in networks.spec.tensors
    }
    found = examine_tensors(halves, networks.spec)
    assert found.networks == 4
    assert found.verdict(0) == "ok"


def test_nothing_to_look_at():
    found = examine(weights_of(torch.zeros(2, 0), NetworkSpec(tensors=())))
    assert (found.findings, found.verdict(0), found.coverage) == ((), "ok", 1.0)


def test_scalars_are_looked_at_like_any_tensor():
    spec = infer({"temperature": (), "weight": (4, 3)}).spec
    tensors = {"temperature": torch.tensor([1.0, math.inf]), "weight": torch.randn(2, 4, 3)}
    found = examine_tensors(tensors, spec)
    assert [(f.network, f.tensor, f.kind) for f in found.findings if f.kind == "not finite"] == [
        (1, "temperature", "not finite")
    ]
