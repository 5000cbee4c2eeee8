"""Layer statistics: equal to torch's definitions, per tensor, without padding."""

import pytest
import torch

from tests.weights.architectures import build
from weightatlas.errors import SpecError
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.weights.statistics import QUANTILES, layer_statistics, row_quantiles, statistic_names
from weightatlas.weights.trace import trace

SPEC = trace(*build("residual")[:2])


def written_out(values, spec, quantiles):
    rows = []
    for row in values:
        features = []
        for tensor, start in zip(spec.tensors, spec.offsets, strict=True):
            part = row[start : start + tensor.size]
            features += [part.mean(), part.std(correction=0), *torch.quantile(part, torch.tensor(quantiles))]
        rows.append(torch.stack(features))
    return torch.stack(rows)


@pytest.mark.parametrize("quantiles", [QUANTILES, (0.01, 0.33, 0.99), (0.5,)])
def test_equal_to_a_loop_over_networks_and_tensors(quantiles):
    values = torch.randn(600, SPEC.params)
    found = layer_statistics(values, SPEC, quantiles)
    assert torch.allclose(found[::97], written_out(values[::97], SPEC, quantiles), atol=1e-5)


def test_names_match_the_columns():
    names = statistic_names(SPEC)
    assert len(names) == layer_statistics(torch.randn(2, SPEC.params), SPEC).shape[1]
    values = torch.zeros(1, SPEC.params)
    values[:, SPEC.slices["head.bias"]] = torch.tensor([1.0, 2.0, 6.0])
    found = dict(zip(names, layer_statistics(values, SPEC)[0].tolist(), strict=True))
    assert (found["head.bias.mean"], found["head.bias.q50"], found["head.bias.q100"]) == (3.0, 2.0, 6.0)
    assert found["head.weight.std"] == 0.0


def test_permutations_do_not_matter():
    values = torch.randn(5, SPEC.params)
    moved = permute(values, sample(SPEC, 5), SPEC)
    assert torch.allclose(layer_statistics(values, SPEC), layer_statistics(moved, SPEC), atol=1e-6)


def test_a_network_does_not_depend_on_its_companions():
    values = torch.randn(300, SPEC.params)
    assert torch.equal(layer_statistics(values, SPEC)[290:291], layer_statistics(values[290:291], SPEC))


def test_no_networks_give_no_rows():
    assert layer_statistics(torch.zeros(0, SPEC.params), SPEC).shape == (0, len(statistic_names(SPEC)))


def test_bad_input_is_a_named_error():
    with pytest.raises(SpecError, match="the spec says"):
        layer_statistics(torch.zeros(2, 3), SPEC)
    with pytest.raises(SpecError, match="outside"):
        layer_statistics(torch.zeros(2, SPEC.params), SPEC, (0.5, 25.0))


@pytest.mark.parametrize("count", [1, 2, 5, 1000])
def test_quantiles_of_rows_are_those_of_torch(count):
    values, levels = torch.randn(3, count, dtype=torch.float64), (0.0, 0.05, 0.37, 0.5, 1.0)
    expected = torch.quantile(values, torch.tensor(levels, dtype=torch.float64), dim=1).T
    assert torch.equal(row_quantiles(values, levels), expected)


def test_rows_longer_than_torch_takes_have_quantiles():
    values = torch.zeros(1, 2**24 + 1)
    values[:, -1] = 1.0
    assert row_quantiles(values, (0.5, 1.0)).tolist() == [[0.0, 1.0]]
