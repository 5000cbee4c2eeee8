"""Folding batch norms: the same function, the spec that re-tracing finds."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.weights.architectures import build
from weightatlas.errors import SpecError
from weightatlas.networks import create_network
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.fold import fold_network, fold_norms, folds_of
from weightatlas.weights.vector import flatten, unflatten


def randomized(network):
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(
                    0.3 + torch.rand_like(tensor) if "var" in key else 0.4 * torch.randn_like(tensor)
                )
    return network.eval()


CASES = {
    "chain": lambda: (
        nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5),
            nn.BatchNorm1d(5, affine=False),
        ),
        (1, 6, 6),
        2,
    ),
    "transposed": lambda: (
        nn.Sequential(nn.ConvTranspose2d(2, 3, 2), nn.BatchNorm2d(3, eps=0.1)), (2, 3, 3), 1,
    ),
    "depthwise": lambda: (build("depthwise")[0], (1, 8, 8), 2),
    "residual": lambda: (build("residual")[0], (2, 6, 6), 4),
    "registered": lambda: (create_network("resnet_small"), (3, 32, 32), 9),
    "before": lambda: (nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1)), (2, 4, 4), 0),
    "tokens": lambda: (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), (4, 4), 0),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_folded_network_is_the_same_function(case):
    network, shape, count = CASES[case]()
    network = randomized(network)
    spec = spec_of(network, shape)
    assert len(folds_of(spec)) == count
    inputs = torch.randn(4, *shape)
    folded = fold_network(network, spec)
    assert (
        sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in folded.modules())
        == sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules()) - count
    )
    expected = network(inputs)
    assert (folded(inputs) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("case", CASES)
def test_the_folded_spec_is_what_tracing_finds(case):
    network, shape, _ = CASES[case]()
    spec = spec_of(network, shape)
    values = torch.rand(3, spec.params)
    folded_values, folded = fold_norms(values, spec)
    assert folded_values.shape == (3, folded.params)
    assert folded == spec_of(fold_network(network, spec), shape)


def test_many_networks_fold_as_each_alone():
    network, shape, _ = build("residual")
    spec = spec_of(network, shape)
    values = torch.rand(4, spec.params)
    together, folded = fold_norms(values, spec)
    for row in range(4):
        network.load_state_dict(unflatten(values[row], spec), strict=False)
        state = fold_network(network, spec).state_dict()
        assert torch.allclose(flatten([state], folded)[0], together[row], atol=1e-6)


def test_folding_commutes_with_permutation():
    network, shape, _ = build("residual")
    spec = spec_of(network, shape)
    values, perms = torch.rand(3, spec.params), sample(spec, 3)
    folded_values, folded = fold_norms(values, spec)
    moved, _ = fold_norms(permute(values, perms, spec), spec)
    assert torch.equal(moved, permute(folded_values, perms, folded))


def test_gradients_flow():
    network, shape, _ = build("residual")
    spec = spec_of(network, shape)
    values = torch.rand(2, spec.params, requires_grad=True)
    fold_norms(values, spec)[0].sum().backward()
    assert values.grad.isfinite().all()
    assert values.grad.abs().sum() > 0


def test_the_original_is_not_changed():
    network, shape, _ = build("residual")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fold_network(network, spec_of(network, shape))
    assert list(before) == list(network.state_dict())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_a_layer_that_is_read_twice_keeps_its_norm():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)

        def forward(self, x):
            y = self.a(x)
            return self.norm(y) + y

    assert folds_of(spec_of(Twice(), (3,))) == []


class Computed(nn.Module):
    """A bias, or a norm's scale, that other operations make."""

    def __init__(self, what):
        super().__init__()
        self.a, self.norm, self.what = nn.Linear(3, 4), nn.BatchNorm1d(4), what

    def forward(self, x):
        n = self.norm
        bias = self.a.bias * 2 if self.what == "bias" else self.a.bias
        scale = n.weight * 2 if self.what == "scale" else n.weight
        h = F.linear(x, self.a.weight, bias)
        return F.batch_norm(h, n.running_mean, n.running_var, scale, n.bias)


@pytest.mark.parametrize(("what", "count"), [("nothing", 1), ("bias", 0), ("scale", 0)])
def test_a_bias_or_scale_made_by_other_operations_keeps_the_norm(what, count):
    assert len(folds_of(spec_of(Computed(what), (3,)))) == count


def test_a_spec_without_graph_is_a_named_error():
    network, shape, _ = build("residual")
    bare = spec_of(network, shape).replace(graph=None)
    with pytest.raises(SpecError, match="no layer graph"):
        fold_norms(torch.rand(1, bare.params), bare)
