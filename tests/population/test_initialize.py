"""First weights: the right distributions, from the key alone."""

import pytest
import torch
from torch import nn

from tests.population.small import make
from weightatlas.errors import ConfigError
from weightatlas.population.initialize import fan_in, initialize, schemes
from weightatlas.symmetry.verify import spec_of

SCALES = {  # standard deviation of the 6x4x3x3 weight: fan_in 36, fan_out 54
    "uniform": 12**-0.5,
    "normal": 1.0,
    "kaiming_uniform": (2 / 36) ** 0.5,
    "kaiming_normal": (2 / 36) ** 0.5,
    "glorot": (2 / 90) ** 0.5,
    "glorot_uniform": (2 / 90) ** 0.5,
    "glorot_normal": (2 / 90) ** 0.5,
    "truncated_normal": 0.8796 / 6,
    "orthogonal": 1 / 6,
    "default": 1 / 6 / 3**0.5,
    "siren": 2**0.5 / 6 / 30,
}


@pytest.mark.parametrize("scheme", schemes.names())
def test_scale_of_a_convolution(scheme: str) -> None:
    _, spec = make("plain")
    weights = initialize(spec, torch.arange(400), scheme)[:, spec.slices["3.weight"]]
    assert weights.std().item() == pytest.approx(SCALES[scheme], rel=0.02)
    assert weights.mean().item() == pytest.approx(0.5 if scheme == "uniform" else 0.0, abs=0.01)


def test_a_network_depends_on_its_key_and_scheme_alone() -> None:
    _, spec = make("plain")
    together = initialize(spec, torch.tensor([5, 9, -3]), ["orthogonal", "normal", "default"])
    alone = [
        initialize(spec, torch.tensor([k]), s) for k, s in ((5, "orthogonal"), (9, "normal"), (-3, "default"))
    ]
    assert torch.equal(together, torch.cat(alone))
    assert not torch.equal(alone[0], initialize(spec, torch.tensor([6]), "orthogonal"))


def test_orthogonal_rows() -> None:
    _, spec = make("plain")
    matrix = initialize(spec, torch.arange(2), "orthogonal")[:, spec.slices["3.weight"]].reshape(2, 6, 36)
    torch.testing.assert_close(matrix @ matrix.transpose(1, 2), torch.eye(6).expand(2, 6, 6))


def test_norms_and_biases() -> None:
    _, spec = make("residual")
    weights = initialize(spec, torch.arange(2), ["kaiming_normal", "default"])
    assert (weights[:, spec.slices["norm.weight"]] == 1).all()
    assert (weights[:, spec.slices["norm.running_var"]] == 1).all()
    assert (weights[:, spec.slices["norm.bias"]] == 0).all()
    assert (weights[0, spec.slices["body.bias"]] == 0.01).all()
    bias = weights[1, spec.slices["body.bias"]]
    body = next(t for t in spec.tensors if t.name == "body.weight")
    assert 0 < bias.abs().max() <= fan_in(body) ** -0.5


def test_siren_spreads_its_first_layer_wider() -> None:
    _, spec = make("plain")
    weights = initialize(spec, torch.arange(50), "siren")
    first = weights[:, spec.slices["0.weight"]].abs().max()
    assert 0.99 / 9 < first <= 1 / 9
    assert weights[:, spec.slices["3.bias"]].abs().max() > 0.02


def test_unknown_scheme_suggests_a_name() -> None:
    _, spec = make("plain")
    with pytest.raises(ConfigError, match="kaiming_normal"):
        initialize(spec, torch.arange(1), "kaiming_norm")
    with pytest.raises(ConfigError, match="2 initializations"):
        initialize(spec, torch.arange(1), ["normal", "normal"])


def test_spreads_are_chosen_per_network():
    spec = spec_of(nn.Linear(40, 50), (40,))
    keys = torch.arange(3)
    drawn = initialize(spec, keys, ["normal", "truncated_normal", "kaiming_normal"], [0.01, 0.3, 0.5])
    plain = initialize(spec, keys, ["normal", "truncated_normal", "kaiming_normal"])
    part = spec.slices["weight"]
    assert float(drawn[0, part].std()) == pytest.approx(0.01, rel=0.1)
    assert float(drawn[1, part].abs().max()) <= 0.6
    assert float(drawn[1, part].std()) == pytest.approx(0.3 * 0.88, rel=0.1)
    assert torch.equal(drawn[2], plain[2])
    again = initialize(spec, keys, ["normal", "truncated_normal", "kaiming_normal"], [None, None, None])
    assert torch.equal(again, plain)
