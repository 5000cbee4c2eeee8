"""Scaling and sign flips: the function stays, balanced networks are equal, others are refused."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from weightatlas.errors import SpecError
from weightatlas.networks import create_network
from weightatlas.symmetry.scalings import assumed_scalings, scalings_of
from weightatlas.symmetry.signs import balance, rescale, sample_factors
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.fold import fold_network, fold_norms
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import flatten, unflatten


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        return self.last(torch.relu(x + self.second(x)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.inner(torch.relu(self.first(x))))
        return self.last(torch.relu(self.inner(x)))


SINE = {"activation": "tanh"}
CASES = {
    "digits_cnn": (lambda: create_network("digits_cnn"), (1, 8, 8), 3),
    "mlp": (lambda: create_network("mlp", hidden=(6, 5)), (1, 8, 8), 2),
    "tanh mlp": (lambda: create_network("mlp", hidden=(6, 5), **SINE), (1, 8, 8), 2),
    "residual": (Residual, (3,), 1),
    "lenet5": (lambda: create_network("lenet5"), (3, 32, 32), 4),
}


def run(network: nn.Module, spec, values, inputs):
    with torch.no_grad():
        return functional_call(network.double().eval(), unflatten(values[0], spec), (inputs,))


@pytest.mark.parametrize("name", CASES)
def test_rescaled_networks_compute_the_same(name):
    make, shape, count = CASES[name]
    network = make()
    spec = spec_of(network, shape)
    assert len(scalings_of(spec)) == count
    values = torch.randn(1, spec.params, dtype=torch.float64) * 0.3
    inputs = torch.randn(4, *shape, dtype=torch.float64)
    factors = sample_factors(spec, 1)
    before, after = (run(network, spec, v, inputs) for v in (values, rescale(values, factors, spec)))
    assert torch.allclose(before, after, rtol=1e-6, atol=1e-9)
    wrong = rescale(values, [factor * 1.5 if i else -factor for i, factor in enumerate(factors)], spec)
    kinds = {(scaling.scale, scaling.flip) for scaling in scalings_of(spec)}
    if kinds != {(True, True)}:
        assert not torch.allclose(before, run(network, spec, wrong, inputs), rtol=1e-3)


def test_a_folded_residual_network_can_be_rescaled():
    network = create_network("resnet_small", channels_in=1, image_size=8, widths=(4, 6)).eval()
    spec = spec_of(network, (1, 8, 8))
    state = {
        name: torch.rand_like(t) + 0.1 for name, t in network.state_dict().items() if t.is_floating_point()
    }
    values = flatten([state], spec)
    folded, inner = fold_norms(values, spec)
    network.load_state_dict(state, strict=False)
    plain = fold_network(network, spec)
    assert {scaling.group for scaling in scalings_of(inner)} == set(range(len(inner.groups)))
    inputs = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    moved = rescale(folded.double(), sample_factors(inner, 1), inner)
    before, after = (run(plain, inner, v, inputs) for v in (folded.double(), moved))
    assert torch.allclose(before, after, rtol=1e-5)
    assert torch.allclose(balance(moved, inner)[0], balance(folded.double(), inner)[0], rtol=1e-4)


def test_networks_without_a_graph_are_balanced_by_their_groups():
    spec = spec_of(create_network("digits_cnn"), (1, 8, 8))
    bare = NetworkSpec(tensors=spec.tensors, groups=spec.groups)
    assert scalings_of(bare) == ()
    values = torch.randn(2, spec.params)
    assert torch.equal(balance(values, bare, assumed_scalings(bare))[0], balance(values, spec)[0])


def test_positive_scaling_is_undone_by_balance():
    network = create_network("digits_cnn")
    spec = spec_of(network, (1, 8, 8))
    values = torch.randn(3, spec.params, dtype=torch.float64)
    moved = rescale(values, sample_factors(spec, 3), spec)
    assert not torch.allclose(moved, values)
    first, second = balance(values, spec)[0], balance(moved, spec)[0]
    assert torch.allclose(first, second, rtol=1e-5)
    again, factors = balance(first, spec)
    assert torch.allclose(again, first)
    assert all(torch.allclose(factor, torch.ones_like(factor)) for factor in factors)


def test_dead_units_stay_finite():
    spec = spec_of(create_network("mlp", hidden=(4,)), (1, 8, 8))
    balanced, _ = balance(torch.zeros(2, spec.params), spec)
    assert bool((balanced == 0).all())


def test_kinds_of_activations():
    def kinds(activation: nn.Module) -> list[tuple[bool, bool]]:
        network = nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 2))
        return [(s.scale, s.flip) for s in scalings_of(spec_of(network, (3,)))]

    assert kinds(nn.ReLU()) == [(True, False)]
    assert kinds(nn.Tanh()) == [(False, True)]
    assert kinds(nn.Identity()) == [(True, True)]
    assert kinds(nn.GELU()) == []


def test_batch_norm_and_shared_layers_stop_factors():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    found = scalings_of(spec_of(network, (3,)))
    assert [len(scaling.uses) for scaling in found] == [3]  # the norm's scale and shift, and the last layer
    assert scalings_of(spec_of(Tied(), (3,))) == ()


class Turned(nn.Module):
    """Reads with the transpose of a weight that it also writes with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(3, 5), nn.Linear(5, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.inner(torch.relu(self.first(x))))
        return nn.functional.linear(x, self.first.weight.T)


class Random(nn.Module):
    """Reads with a matrix that is a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 5), nn.Linear(4, 2)
        self.register_buffer("matrix", torch.randn(4, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(nn.functional.linear(torch.relu(self.first(x)), self.matrix)))


class OneNorm(nn.Module):
    """Norms two layers with one norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 2)
        self.norm = nn.BatchNorm1d(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return self.last(torch.relu(self.norm(self.inner(x))))


class MadeScale(nn.Module):
    """Multiplies by a scale that is computed, and adds a shift that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.norm = nn.Linear(3, 5), nn.Linear(5, 2), nn.BatchNorm1d(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = self.norm
        moments = n.running_mean, n.running_var
        x = nn.functional.batch_norm(self.first(x), *moments, n.weight * 2, n.bias)
        return self.last(torch.relu(x))


class Between(nn.Module):
    def __init__(self, between) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Linear(3, 5), nn.Linear(5, 2), between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.between(self.first(x)))


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (Turned(), 0),
        (Random(), 2),
        (OneNorm(), 0),
        (MadeScale(), 0),
        (Between(lambda h: 1 / h), 0),
        (Between(lambda h: torch.div(h, 0.1, rounding_mode="floor")), 0),
        (Between(lambda h: h / 0.1), 1),
        (Between(lambda h: 3 * h), 1),
    ],
)
def test_factors_pass_only_where_they_can_be_undone(network, count):
    spec = spec_of(network, (3,))
    values = torch.rand(1, spec.params, dtype=torch.float64) + 0.1
    inputs = torch.randn(4, 3, dtype=torch.float64)
    assert len(scalings_of(spec)) == count
    moved = rescale(values, sample_factors(spec, 1), spec)
    before, after = (run(network, spec, v, inputs) for v in (values, moved))
    assert torch.allclose(before, after, rtol=1e-6, atol=1e-9)


def test_wrong_factors_are_refused():
    spec = spec_of(create_network("mlp", hidden=(4,)), (1, 8, 8))
    with pytest.raises(SpecError, match=r"\(1, 3\)"):
        rescale(torch.zeros(1, spec.params), [torch.ones(1, 3)], spec)
