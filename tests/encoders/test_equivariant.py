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
from weightatlas.encoders.equivariant import ChannelDropout, EquivariantLinear, Features, features_of, pool
from weightatlas.encoders.orbits import Layout, layout_of
from weightatlas.symmetry.permutation import sample
from weightatlas.symmetry.verify import spec_of

WIDTHS = (2, 3, 4, 3, 2)
LAYERS = len(WIDTHS) - 1


def perceptron():
    layers = [nn.Linear(a, b) for a, b in pairwise(WIDTHS)]
    return spec_of(nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())][:-1]), WIDTHS[:1])


def blocks_of(x: Features, layout: Layout, channels: int) -> list[Tensor]:
    """Read the numbers of each block back from features."""
    found, alone = [], iter(x.alone)
    for b, block in enumerate(layout.blocks):
        if b in x.matrices or not block.axes:
            found.append(x.matrices[b] if b in x.matrices else next(alone))
            continue
        uses = layout.uses[block.slots[0]]
        start = sum(layout.blocks[other].features for other, _ in uses[: uses.index((b, 0))]) * channels
        found.append(x.lines[block.slots[0]][..., start : start + block.features * channels])
    return found


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
    first = layout.leading
    starts = {b: sum(sizes[other] for other in first[: first.index(b)]) for b in first}
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
    rows = [s for s in layer.layout.leading for _ in range(sizes[s])]
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
    values = blocks_of(layer(features_of(layout.split(x[:, layout.order]), layout), relu), layout, 1)
    found = torch.empty_like(x)
    found[:, layout.order] = torch.cat([value.flatten(1) for value in values], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert expected.abs().max() > 1e-3


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
@settings(max_examples=2, deadline=None)
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
    before = second(first(features_of(blocks, layout), relu=True))
    after = second(first(features_of(permute_blocks(blocks, layout, perms), layout), relu=True))
    moved = permute_blocks(blocks_of(before, layout, 2), layout, perms)
    for one, two in zip(moved, blocks_of(after, layout, 2), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-11)
    pooled = [pool(x, layout, 2, ends=True) for x in (before, after)]
    torch.testing.assert_close(*pooled, rtol=1e-9, atol=1e-11)
    again = features_of(blocks_of(before, layout, 2), layout)
    torch.testing.assert_close(again.lines, before.lines, rtol=1e-9, atol=1e-11)
    # Negative control: another permutation of one block alone is noticed.
    widest = max(range(len(blocks)), key=lambda b: blocks[b].shape[1] if blocks[b].ndim > 2 else 0)
    blocks[widest] = blocks[widest].roll(1, 1)
    wrong = pool(second(first(features_of(blocks, layout), relu=True)), layout, 2, ends=True)
    assert (wrong - pooled[0]).abs().max() > 1e-7


def test_without_embedded_ends_inputs_and_outputs_may_be_exchanged():
    spec = perceptron()
    layout = layout_of(spec, True)
    blocks = layout.split(torch.randn(2, spec.params, dtype=torch.float64)[:, layout.order])
    flipped = list(blocks)
    flipped[0] = blocks[0].flip(2)
    for embed in (False, True):
        layer = EquivariantLinear(layout, 1, 2, embed_ends=embed).double()
        # Pooling a linear map sees sums only; a ReLU shows whether inputs are told apart.
        found = [layer(features_of(x, layout), relu=True) for x in (blocks, flipped)]
        one, two = (pool(x, layout, 2, ends=False) for x in found)
        assert torch.allclose(one, two, rtol=1e-9, atol=1e-11) is not embed


def test_embedded_ends_equal_added_vectors():
    """What the layer folds into its terms is the plain sum of inputs and vectors."""
    spec = perceptron()
    layout = layout_of(spec, True)
    layer = EquivariantLinear(layout, 2, 3, embed_ends=True).double()
    plain = EquivariantLinear(layout, 2, 3).double()
    plain.load_state_dict(layer.state_dict(), strict=False)
    values = torch.randn(2, spec.params, 2, dtype=torch.float64)[:, layout.order]
    blocks = [part.flatten(-2) for part in layout.split(values)]
    added = list(blocks)
    for name, vectors in layer.ends.items():
        b, axis = (int(number) for number in name.split("_"))
        others = [1] * (layout.blocks[b].axes - 1)
        shape = (len(vectors), *others, -1) if axis == 0 else (*others, len(vectors), -1)
        added[b] = added[b] + vectors.view(shape)
    assert sorted(layer.ends) == ["0_1", "6_0", "7_0"]
    one = blocks_of(layer(features_of(blocks, layout)), layout, 3)
    two = blocks_of(plain(features_of(added, layout)), layout, 3)
    torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-11)


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
    x = EquivariantLinear(layout, 1, 8)(features_of(layout.split(torch.randn(4, spec.params)), layout))
    drop = ChannelDropout(layout, 8, 0.5)
    dropped = drop(x)
    again = features_of(blocks_of(dropped, layout, 8), layout)
    torch.testing.assert_close(again.lines, dropped.lines, rtol=1e-5, atol=1e-6)
    gone = (next(iter(dropped.matrices.values())) == 0).flatten(1, 2)
    assert torch.equal(gone.all(1), gone.any(1))
    assert 0 < gone.any(1).sum() < gone.any(1).numel()
    assert drop.eval()(x) is x
