"""Per-layer scaling: invertible, fitted on what it is given, constant within a tensor."""

import pytest
import torch
from torch import nn

from tests.weights.plain_spec import plain_spec
from weightatlas.errors import DataError
from weightatlas.weights.scaling import fit_scaling


def test_scaling_standardizes_each_tensor_and_inverts() -> None:
    spec = plain_spec(nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2)))
    values = torch.randn(50, spec.params) * torch.linspace(0.1, 3, spec.params) + 1
    scaling = fit_scaling(values, spec)
    scaled = scaling.apply(values)
    for part in spec.slices.values():
        assert scaled[:, part].mean().abs() < 1e-5
        assert abs(scaled[:, part].std(correction=0) - 1) < 1e-5
        assert len(scaling.std[part].unique()) == 1
    assert torch.allclose(scaling.invert(scaled), values, atol=1e-5)


def test_constant_tensors_do_not_explode() -> None:
    spec = plain_spec(nn.Linear(2, 2))
    scaling = fit_scaling(torch.zeros(3, spec.params), spec)
    assert torch.isfinite(scaling.apply(torch.ones(1, spec.params))).all()


def test_bad_training_networks_are_named() -> None:
    spec = plain_spec(nn.Linear(2, 2))
    values = torch.zeros(3, spec.params)
    values[1, 5] = float("nan")
    with pytest.raises(DataError, match="in bias"):
        fit_scaling(values, spec)
    with pytest.raises(DataError, match="at least one"):
        fit_scaling(values[:0], spec)
