"""Neurons: their numbers follow the spec's axes, their facts move with them under permutation."""

import pytest
import torch

from tests.weights.architectures import ARCHITECTURES, build
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.neurons import FACTS, neuron_facts, neurons_of
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.trace import trace


def spec(name: str) -> NetworkSpec:
    network, shape, _ = build(name)
    return spec_of(network, shape) if name != "words" else trace(network, shape)


def test_numbers_link_the_neurons_of_a_perceptron() -> None:
    here = trace(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)), (2,))
    neurons = neurons_of(here)
    hidden = neurons.row[here.slices["0.bias"]]
    weight = neurons.row[here.slices["0.weight"]].view(3, 2)
    assert torch.equal(weight, hidden[:, None].expand(3, 2))
    assert torch.equal(neurons.column[here.slices["1.weight"]].view(2, 3), hidden[None].expand(2, 3))
    assert (neurons.column[here.slices["1.bias"]] == neurons.count).all()


def test_facts_are_what_they_say() -> None:
    here = trace(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)), (2,))
    values = torch.randn(4, here.params, dtype=torch.float64)
    facts = neuron_facts(values, here)
    hidden = neurons_of(here).row[here.slices["0.bias"]]
    read = values[:, here.slices["0.weight"]].view(4, 3, 2)
    written = values[:, here.slices["1.weight"]].view(4, 2, 3)
    expected = [
        *(read.mean(2), read.square().mean(2).sqrt()),
        *(written.mean(1), written.square().mean(1).sqrt()),
        values[:, here.slices["0.bias"]],
        torch.zeros(4, 3, dtype=torch.float64),
    ]
    torch.testing.assert_close(facts[:, hidden], torch.stack(expected, dim=2))
    assert (facts[:, -1] == 0).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_links_move_with_the_neurons(name: str) -> None:
    """What stands beside a number after permuting is what stood beside it before."""
    here, generator = spec(name), torch.Generator().manual_seed(0)
    values = torch.randn(2, here.params, generator=generator, dtype=torch.float64)
    moves = sample(here, 2, generator)
    neurons = neurons_of(here)

    def beside(weights: torch.Tensor) -> torch.Tensor:
        facts = neuron_facts(weights, here)
        return torch.cat([facts[:, neurons.row], facts[:, neurons.column]], dim=2)

    before = beside(values)
    columns = [permute(before[:, :, place], moves, here) for place in range(2 * FACTS)]
    after = beside(permute(values, moves, here))
    torch.testing.assert_close(after, torch.stack(columns, dim=2), rtol=1e-10, atol=1e-12)


def test_a_transposed_convolution_reads_its_first_axis_and_computes_its_second() -> None:
    here = trace(
        torch.nn.Sequential(torch.nn.ConvTranspose1d(2, 3, 2), torch.nn.ConvTranspose1d(3, 4, 2)), (2, 5)
    )
    neurons = neurons_of(here)
    hidden, out = (neurons.row[here.slices[name]] for name in ("0.bias", "1.bias"))
    first, second = (
        (neurons.row[here.slices[name]].view(shape), neurons.column[here.slices[name]].view(shape))
        for name, shape in (("0.weight", (2, 3, 2)), ("1.weight", (3, 4, 2)))
    )
    assert torch.equal(first[0], hidden[None, :, None].expand(2, 3, 2))
    assert torch.equal(second[0], out[None, :, None].expand(3, 4, 2))
    assert torch.equal(second[1], hidden[:, None, None].expand(3, 4, 2))
    assert neurons.count == 2 + 3 + 4


@pytest.mark.parametrize(("inputs", "groups"), [(4, 2), (2, 2)])
def test_groups_of_a_transposed_convolution_compute_outputs_of_their_own(inputs: int, groups: int) -> None:
    here = trace(torch.nn.Sequential(torch.nn.ConvTranspose1d(inputs, 6, 2, groups=groups)), (inputs, 5))
    neurons = neurons_of(here)
    row = neurons.row[here.slices["0.weight"]].view(groups, inputs // groups, 3, 2)
    bias = neurons.row[here.slices["0.bias"]].view(groups, 1, 3, 1)
    assert torch.equal(row, bias.expand_as(row))
