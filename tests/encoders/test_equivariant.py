"""The compact layer: equal to the dense one pattern by pattern, equivariant for any traced network."""

from collections.abc import Iterator
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.encoders.test_orbits import permute_blocks
from tests.weights.architectures import ARCHITECTURES, build
from weightatlas.encoders.equivariant import ChannelDropout, EquivariantLinear, features_of, pool
from weightatlas.encoders.orbits import layout_of
from weightatlas.symmetry.permutation import sample
from weightatlas.symmetry.verify import spec_of

WIDTHS = (2, 3, 4, 3, 2)
LAYERS = len(WIDTHS) - 1


def perceptron():
    layers = [nn.Linear(a, b) for a, b in pairwise(WIDTHS)]
    return spec_of(nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())][:-1]), WIDTHS[:1])


def numbers(ends: bool) -> Iterator[tuple[int, dict[int, int], int]]:
    """Every number of the perceptron as (block, axis -> (neuron layer, neuron), feature), written by hand."""
    for layer in range(LAYERS):
        first, last = layer == 0 and not ends, layer == LAYERS - 1 and not ends
        for out, into in product(range(WIDTHS[layer + 1]), range(WIDTHS[layer])):
            axes = ([] if last else [(layer + 1, out)]) + ([] if first else [(layer, into)])
            yield 2 * layer, dict(enumerate(axes)), (into if first else out if last else 0)
        for out in range(WIDTHS[layer + 1]):
            yield 2 * layer + 1, {} if last else {0: (layer + 1, out)}, (out if last else 0)


def pattern(source: int, target: int, axis: int | None, from_axis: int | None) -> str:
    """Name what a coefficient of the dense matrix does, as the paper's list of maps."""
    kind = "weight" if target % 2 == 0 else "bias"
    if axis is None:
        return f"{kind}: all {'weights' if source % 2 == 0 else 'biases'}"
    if source == target and axis == from_axis:
        return f"{kind}: own line along axis {axis}"
    whose = "own" if source // 2 == target // 2 else "next"
    return f"{kind}: {'bias' if source % 2 else 'weight'} {whose} along axis {axis}"


def dense(layer: EquivariantLinear, ends: bool, keep: str | None) -> tuple[Tensor, set[str]]:
    """Write the layer out as a matrix over all numbers, coefficient by coefficient."""
    layout, found, names = layer.layout, list(numbers(ends)), set()
    sizes = [block.features for block in layout.blocks]
    sums: dict[tuple[int, int], float] = {}
    starts = [sum(sizes[:b]) for b in range(len(sizes))]
    count = {b: sum(1 for n in found if n[0] == b) // sizes[b] for b in range(len(sizes))}

    def add(row: int, column: int, name: str, value: Tensor) -> None:
        names.add(name)
        if keep in (None, name):
            sums[row, column] = sums.get((row, column), 0.0) + float(value.detach())

    for (row, (t, to, f)), (column, (s, of, e)) in product(enumerate(found), enumerate(found)):
        if s == t and to == of and len(to) == 2:
            add(row, column, "weight: itself", layer.point[str(t)][e, f])
        add(row, column, pattern(s, t, None, None), layer.whole[starts[s] + e, starts[t] + f] / count[s])
        for (axis, neuron), (from_axis, other) in product(to.items(), of.items()):
            if neuron != other:
                continue
            uses = list(layout.uses[layout.blocks[t].slots[axis]])
            starting = [sum(sizes[b] for b, _ in uses[:number]) for number in range(len(uses))]
            value = layer.neuron[layout.blocks[t].slots[axis]][
                starting[uses.index((s, from_axis))] + e, starting[uses.index((t, axis))] + f
            ]
            others = count[s] // WIDTHS[neuron[0]]
            add(row, column, pattern(s, t, axis, from_axis), value / others)
    matrix = torch.zeros(len(found), len(found), dtype=torch.float64)
    for (row, column), value in sums.items():
        matrix[row, column] = value
    return matrix, names


NINE_AND_FIVE = {
    "weight: itself",
    "weight: all weights",
    "weight: all biases",
    *(f"weight: {what} along axis {axis}" for axis in (0, 1) for what in ("own line", "weight next")),
    "weight: bias own along axis 0",
    "weight: bias next along axis 1",
    "bias: all weights",
    "bias: all biases",
    "bias: own line along axis 0",
    "bias: weight own along axis 0",
    "bias: weight next along axis 0",
}


def test_there_are_nine_patterns_per_weight_and_five_per_bias():
    names = dense(EquivariantLinear(layout_of(perceptron(), True), 1, 1), True, None)[1]
    assert names == NINE_AND_FIVE
    assert len([name for name in names if name.startswith("weight")]) == 9
    assert len([name for name in names if name.startswith("bias")]) == 5


@torch.no_grad()
def only(layer: EquivariantLinear, keep: str) -> None:
    """Switch off all patterns but one."""
    blocks, uses = layer.layout.blocks, layer.layout.uses
    sizes = [block.features for block in blocks]
    for b in layer.point:
        layer.point[b] *= keep == "weight: itself"
    rows = [s for s, size in enumerate(sizes) for _ in range(size)]
    for (row, s), (column, t) in product(enumerate(rows), enumerate(rows)):
        layer.whole[row, column] *= pattern(s, t, None, None) == keep
    for slot, weight in enumerate(layer.neuron):
        lines = [use for use in uses[slot] for _ in range(sizes[use[0]])]
        for (row, (s, a)), (column, (t, axis)) in product(enumerate(lines), enumerate(lines)):
            weight[row, column] *= pattern(s, t, axis, a) == keep


@pytest.mark.parametrize("keep", [None, *sorted(NINE_AND_FIVE)])
def test_each_pattern_equals_the_dense_map(keep: str | None):
    compare(True, keep)


@pytest.mark.parametrize("relu", [False, True])
def test_hidden_only_equals_the_dense_map(relu: bool):
    compare(False, None, relu)


def compare(ends: bool, keep: str | None, relu: bool = False) -> None:
    spec = perceptron()
    layout = layout_of(spec, ends)
    layer = EquivariantLinear(layout, 1, 1).double()
    with torch.no_grad():
        layer.bias.zero_()
    if keep is not None:
        only(layer, keep)
    x = torch.randn(3, spec.params, dtype=torch.float64)
    expected = x @ dense(layer, ends, keep)[0].T
    expected = torch.relu(expected) if relu else expected
    values = layer(features_of(layout.split(x[:, layout.order])), relu).values
    found = torch.empty_like(x)
    found[:, layout.order] = torch.cat([value.flatten(1) for value in values], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert expected.abs().max() > 1e-3


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_layers_commute_with_permutations_of_any_network(name: str, ends: bool, seed: int):
    torch.manual_seed(seed)
    network, shape, _ = build(name)
    spec = spec_of(network, shape)
    layout = layout_of(spec, ends)
    first = EquivariantLinear(layout, 1, 3, embed_ends=ends).double()
    second = EquivariantLinear(layout, 3, 2, embed_ends=ends).double()
    perms = sample(spec, 2)
    blocks = layout.split(torch.randn(2, spec.params, dtype=torch.float64))
    before = second(first(features_of(blocks), relu=True))
    after = second(first(features_of(permute_blocks(blocks, layout, perms)), relu=True))
    moved = permute_blocks(before.values, layout, perms)
    for one, two in zip(moved, after.values, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-11)
    pooled = [pool(x, layout, ends=True) for x in (before, after)]
    torch.testing.assert_close(*pooled, rtol=1e-9, atol=1e-11)
    for x in (before, after):
        again = features_of(x.values)
        torch.testing.assert_close(again.means, x.means, rtol=1e-9, atol=1e-11)
    # Negative control: another permutation of one block alone is noticed.
    widest = max(range(len(blocks)), key=lambda b: blocks[b].shape[1] if blocks[b].ndim > 2 else 0)
    blocks[widest] = blocks[widest].roll(1, 1)
    wrong = pool(second(first(features_of(blocks), relu=True)), layout, ends=True)
    assert (wrong - pooled[0]).abs().max() > 1e-7


def test_without_embedded_ends_inputs_and_outputs_may_be_exchanged():
    spec = perceptron()
    layout = layout_of(spec, True)
    blocks = layout.split(torch.randn(2, spec.params, dtype=torch.float64)[:, layout.order])
    flipped = list(blocks)
    flipped[0] = blocks[0].flip(2)
    for embed in (False, True):
        layer = EquivariantLinear(layout, 1, 2, embed_ends=embed).double()
        one, two = (pool(layer(features_of(x)), layout, ends=False) for x in (blocks, flipped))
        # Pooling a linear map sees sums only; a ReLU shows whether inputs are told apart.
        one, two = (pool(layer(features_of(x), relu=True), layout, ends=False) for x in (blocks, flipped))
        assert torch.allclose(one, two, rtol=1e-9, atol=1e-11) is not embed


def test_the_cost_grows_with_the_parameters():
    """Twice as wide: the same maps, so no more numbers to learn."""
    counts = []
    for width in (4, 8):
        spec = spec_of(
            nn.Sequential(
                nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
            ),
            (2,),
        )
        counts.append(sum(p.numel() for p in EquivariantLinear(layout_of(spec), 3, 3).parameters()))
    assert counts[0] == counts[1]


def test_dropout_drops_channels_of_matrices_and_keeps_the_means_true():
    spec = perceptron()
    layout = layout_of(spec)
    x = features_of([block + 5 for block in layout.split(torch.randn(4, spec.params)[:, layout.order])])
    x = EquivariantLinear(layout, 1, 8)(x)
    drop = ChannelDropout(0.5)
    dropped = drop(x)
    for means, again in zip(dropped.means, features_of(dropped.values).means, strict=True):
        torch.testing.assert_close(means, again, rtol=1e-5, atol=1e-6)
    matrix = next(value for value in dropped.values if value.ndim == 4)
    gone = (matrix == 0).flatten(1, 2)
    assert torch.equal(gone.all(1), gone.any(1))
    assert 0 < gone.any(1).sum() < gone.any(1).numel()
    assert drop.eval()(x) is x
