"""DWSNet: published size, the paper's grid of maps, invariance, what it accepts."""

from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.encoders.test_nfn_hnp import check_invariance, embedding, inr_spec, size
from tests.encoders.test_orbits import permute_blocks
from weightatlas.encoders.dws_layer import DwsLayer, SetAttention
from weightatlas.encoders.heads import HeadConfig
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.orbits import layout_of
from weightatlas.errors import ConfigError, SpecError
from weightatlas.networks.registry import create_network
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.trace import trace

WIDTHS = (2, 4, 3, 5, 2)


def perceptron():
    layers = [nn.Linear(a, b) for a, b in pairwise(WIDTHS)]
    return spec_of(nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())][:-1]), WIDTHS[:1])


@pytest.mark.parametrize("set_layer", ["sab", "ds"])
@pytest.mark.parametrize("reduction", ["max", "mean", "sum"])
@pytest.mark.parametrize("diagonal", [False, True])
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_embedding_ignores_permutations(set_layer: str, reduction: str, diagonal: bool, seed: int):
    torch.manual_seed(seed)
    spec = perceptron()
    chosen = {"set_layer": set_layer, "reduction": reduction, "diagonal": diagonal}
    encoder = create_encoder("dws", spec, hidden=8, layers=2, heads=2, **chosen).double().eval()
    values = torch.randn(3, spec.params, dtype=torch.float64)
    found = embedding(encoder, values, spec)
    same = embedding(encoder, permute(values, sample(spec, 3), spec), spec)
    torch.testing.assert_close(found, same, rtol=1e-8, atol=1e-12)
    wrong = values.clone()
    wrong[:, 0:8] = values[:, 0:8].flip(1)
    assert (embedding(encoder, wrong, spec) - found).abs().max() > 1e-6 * found.abs().max()


@pytest.mark.parametrize("set_layer", ["sab", "ds"])
def test_layers_commute_with_permutations(set_layer: str):
    spec = perceptron()
    layout = layout_of(spec)
    layer = DwsLayer(layout, (0, 0, 1, 1, 2, 2, 3, 3), 2, 4, set_layer, heads=2).double()  # pyright: ignore[reportArgumentType]
    x = [torch.randn(2, *b.sizes, b.features * 2, dtype=torch.float64) for b in layout.blocks]
    perms = sample(spec, 2)
    moved = permute_blocks(layer(x), layout, perms)
    for one, two in zip(moved, layer(permute_blocks(x, layout, perms)), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


def neurons(block: int) -> list[int]:
    """Hidden neuron layers along the axes of a block, fan-out first; written by hand."""
    layer, bias = divmod(block, 2)
    last = len(WIDTHS) - 2
    return ([layer + 1] if layer < last else []) + ([layer] if layer > 0 and not bias else [])


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_grid_of_maps(diagonal: bool):
    """Write out the paper's maps pair by pair, source after source."""
    spec = perceptron()
    layout = layout_of(spec)
    layers = tuple(layer for layer in range(4) for _ in range(2))
    layer = DwsLayer(layout, layers, 1, 1, "ds", "max", diagonal=diagonal).double()
    x = [torch.randn(2, *b.sizes, b.features, dtype=torch.float64) for b in layout.blocks]
    found = layer(x)
    for target, value in enumerate(x):
        expected = torch.zeros_like(value)
        for source in range(len(x)):
            expected = expected + one_map(layer, x, source, target, diagonal)
        torch.testing.assert_close(found[target], expected / len(x), rtol=1e-9, atol=1e-12)


def one_map(layer: DwsLayer, x: list[Tensor], source: int, target: int, diagonal: bool) -> Tensor:
    """Map one block to another as the paper does, with the coefficients of the compact layer."""
    value, mine, theirs = x[source], neurons(target), neurons(source)
    if source == target and len(mine) == 2:
        a, b, c, d = layer.matrix[str(target)]
        rows, columns = value.amax(2, keepdim=True), value.amax(1, keepdim=True)
        return (a(value) + b(rows) + c(columns) + d(value.amax((1, 2), keepdim=True))) / 4
    shared = set(mine) & set(theirs)
    if not shared:
        if diagonal and source // 2 != target // 2:
            return torch.zeros(())
        pooled = value.amax(tuple(range(1, value.ndim - 1))) if theirs else value
        far = [s for s in range(len(x)) if not set(neurons(s)) & set(mine)]
        far = [s for s in far if s // 2 == target // 2] if diagonal else far
        linear, start = layer.spread[str(target)], sum(x[s].shape[-1] for s in far[: far.index(source)])
        part = pooled @ linear.weight[:, start : start + value.shape[-1]].T
        part = part + linear.bias / len(far)
        return part.view(len(part), *[1] * len(mine), -1)
    (slot,) = shared
    line = value.amax([a + 1 for a, n in enumerate(theirs) if n != slot]) if len(theirs) > 1 else value
    axis = mine.index(slot)
    near = [s for s in range(len(x)) if slot in neurons(s) and not (s == target and len(mine) == 2)]
    order = [s for s, _ in layer.near[target, axis]]
    assert sorted(order) == near
    (sets,) = layer.sets[f"{target}_{axis}"]
    start = sum(x[s].shape[-1] for s in order[: order.index(source)])
    cut = slice(start, start + value.shape[-1])
    part = line @ sets.each.weight[:, cut].T - line.amax(1, keepdim=True) @ sets.all.weight[:, cut].T
    part = part + sets.each.bias / len(near)
    return part if len(mine) == 1 else part.unsqueeze(2 - axis)


def test_set_attention_equals_the_written_out_one():
    layer = SetAttention(3, 4, 2).double()
    x = torch.randn(1, 5, 3, dtype=torch.float64)
    query, key, value = layer.qkv(x[0]).chunk(3, dim=1)
    heads = []
    for part in (slice(0, 2), slice(2, 4)):
        weights = torch.softmax(query[:, part] @ key[:, part].T / 2.0, dim=1)
        heads.append(query[:, part] + weights @ value[:, part])
    joined = torch.cat(heads, dim=1)
    torch.testing.assert_close(layer(x)[0], joined + torch.relu(layer.out(joined)), rtol=1e-9, atol=1e-12)


def test_published_size():
    assert size("dws_sine", inr_spec(), HeadConfig()) == pytest.approx(1.5e6, rel=0.1)


def test_products_grow_with_the_depth_not_its_square():
    counts = []
    for depth in (4, 8, 16):
        spec = trace(create_network("siren", hidden=(8,) * depth), (2,))
        layers = tuple(t.layer for t in spec.tensors)
        layer = DwsLayer(layout_of(spec), layers, 1, 1, "ds")
        counts.append(sum(isinstance(module, nn.Linear) for module in layer.modules()))
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)), (2,), "has 2 layers"),
        (create_network("cnn_unterthiner"), (1, 32, 32), "not a dense layer with a bias"),
        (
            nn.Sequential(
                nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 1)
            ),
            (2,),
            "'2' is not a dense layer with a bias",
        ),
    ],
)
def test_other_networks_are_refused(network: nn.Module, shape: tuple[int, ...], message: str):
    with pytest.raises(SpecError, match=message):
        create_encoder("dws", spec_of(network, shape))


def test_heads_must_divide_the_widths():
    with pytest.raises(ConfigError, match="cannot have 3 heads"):
        create_encoder("dws", perceptron(), hidden=8, heads=3)


@pytest.mark.parametrize("product_of", list(product([True, False], [0.0, 0.3])))
def test_evaluation_is_deterministic(product_of: tuple[bool, float]):
    norm, dropout = product_of
    spec = perceptron()
    encoder = create_encoder("dws", spec, hidden=8, layers=2, heads=2, norm=norm, dropout=dropout).eval()
    values = torch.randn(3, spec.params)
    assert torch.equal(embedding(encoder, values, spec), embedding(encoder, values, spec))
    assert (dropout > 0) is not torch.equal(*(embedding(encoder.train(), values, spec) for _ in range(2)))


def test_perceptrons_with_norm_statistics_of_their_own_are_left_to_others():
    check_invariance("nfn_hnp", "mlp_layer_norm", 0, channels=(3,))
