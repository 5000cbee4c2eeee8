"""The parameter graph: every number is on it once, and permuting neurons permutes its nodes."""

import pytest
import torch
from torch import Tensor, nn

from tests.weights.architectures import ARCHITECTURES, build
from weightatlas.networks import create_network
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.graph import ACTIVATIONS, ParameterGraph, extended, parameter_graph
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import flatten


def spec_and_values(name: str) -> tuple[NetworkSpec, Tensor]:
    network, shape, _ = build(name)
    spec = spec_of(network, shape)
    return spec, torch.rand(2, spec.params, dtype=torch.float64)


def colors(graph: ParameterGraph, values: Tensor, rounds: int = 3) -> Tensor:
    """Refine node colors by their numbers and their neighbors' in both directions (Weisfeiler and Leman)."""
    taps = torch.arange(1, graph.taps.shape[1] + 1, dtype=values.dtype).sqrt()
    edges = (graph.edge_values(values) * taps).sum(-1).sin() + 1.3 * graph.part + 0.7 * graph.edge_kind
    node = graph.node_values(values) @ torch.tensor([1.0, 2.1, 3.3], dtype=values.dtype)
    node = (node + graph.node_kind + 0.3 * graph.activation + 0.1 * graph.depth + 0.01 * graph.place).sin()
    for _ in range(rounds):
        zeros = torch.zeros_like(node)
        down = zeros.index_add(1, graph.target, (edges * (1 + node[:, graph.source])).sin())
        up = zeros.index_add(1, graph.source, (edges * (2 + node[:, graph.target])).cos())
        node = (node + 1.7 * down + 0.9 * up).sin()
    return node


@pytest.mark.parametrize("frame", [1, 3])
@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_permuted_networks_have_permuted_graphs(name: str, frame: int):
    spec, values = spec_and_values(name)
    graph = parameter_graph(spec, frame)
    moved = permute(values, sample(spec, 2), spec)
    one, other = colors(graph, values), colors(graph, moved)
    torch.testing.assert_close(other.sort(1).values, one.sort(1).values, rtol=0, atol=1e-8)
    wrong = values.clone()
    wide = max(spec.tensors, key=lambda tensor: tensor.size)
    part = spec.slices[wide.name]
    block = wrong[:, part].reshape(2, wide.shape[0], -1)
    wrong[:, part] = block.roll(1, dims=2).reshape(2, -1)
    assert float((colors(graph, wrong).sort(1).values - one.sort(1).values).abs().max()) > 1e-3


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_every_number_is_on_the_graph(name: str):
    spec, _ = spec_and_values(name)
    graph = parameter_graph(spec)
    found = torch.cat([graph.taps.flatten(), graph.scalars.flatten()])
    assert sorted(set(found[found >= 0].tolist())) == list(range(spec.params))
    if name not in ("words", "mlp_layer_norm"):  # One weight used twice, one slope shared by a layer.
        assert len(found[found >= 0]) == spec.params
    assert bool((graph.depth[graph.source] < graph.depth[graph.target]).all())
    assert bool((graph.source < graph.target).all())


def test_an_mlp_has_the_textbook_graph():
    spec = spec_of(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)), (2,))
    graph = parameter_graph(spec, frame=1)
    assert (graph.nodes, graph.edges) == (6, 9)
    assert graph.node_kind.tolist() == [0, 0, 1, 1, 1, 2]
    assert graph.depth.tolist() == [0, 0, 1, 1, 1, 2]
    assert graph.outputs.tolist() == [5]
    assert [ACTIVATIONS[i] for i in graph.activation.tolist()] == ["none", "none", *["tanh"] * 3, "none"]
    values = torch.arange(13.0)[None]
    assert graph.node_values(values)[0, :, 0].tolist() == [0, 0, 6, 7, 8, 12]
    edges = dict(zip(zip(graph.source.tolist(), graph.target.tolist(), strict=True), range(9), strict=True))
    assert graph.edge_values(values)[0, edges[1, 3], 0] == 3  # row 1, column 1 of the first weight
    assert graph.fan[edges[1, 3]] == 2


def test_kernels_are_centered_and_flattened_maps_are_kernels():
    spec = spec_of(create_network("cnn_small"), (1, 28, 28))
    graph = parameter_graph(spec, frame=5)
    assert graph.nodes == 1 + 8 + 6 + 4 + 20 + 10
    assert graph.edges == 8 + 48 + 24 + 80 + 200
    kernel = graph.taps[8 + 48].reshape(5, 5)  # 2 x 2
    assert (kernel >= 0).nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    boundary = graph.taps[8 + 48 + 24].reshape(5, 5)  # 3 x 3 positions of one channel
    assert boundary[1:4, 1:4].flatten().tolist() == list(range(spec.offsets[6], spec.offsets[6] + 9))
    small = parameter_graph(spec, frame=3)
    assert small.part.max() == 2  # 25 taps in three parts of 9


def test_a_residual_network_has_skip_edges_that_carry_one():
    spec = spec_of(create_network("resnet_small", image_size=8), (3, 8, 8))
    graph = parameter_graph(spec)
    skips = graph.edge_kind == 3
    assert int(skips.sum()) == 2 * (8 + 16 + 32)
    assert bool((graph.edge_values(torch.zeros(1, spec.params))[0, skips].sum(-1) == 1).all())


def test_grids_describe_the_edges():
    """What batched sums over grids rely on: source nodes of a column, rows of a grid, in edge order."""
    for name in ("grouped", "depthwise", "attention", "concat"):
        spec, _ = spec_and_values(name)
        graph = parameter_graph(spec)
        for block in graph.blocks:
            size = block.nodes.stop - block.nodes.start
            source = graph.source[block.edges].reshape(size, block.degree)
            for relation in block.relations:
                rows = relation.source.repeat_interleave(size // relation.groups, 0)
                assert torch.equal(source[:, relation.columns], rows)


def test_without_a_layer_graph_layers_follow_each_other():
    network, shape, _ = build("cnn_flatten")
    spec = spec_of(network, shape)
    bare = spec.replace(graph=None)
    graph, traced = parameter_graph(bare), parameter_graph(spec)
    assert graph.edges == traced.edges
    assert bool((graph.activation == 0).all())
    values = flatten([network.state_dict()], spec)
    assert torch.equal(graph.edge_values(values), traced.edge_values(values))
    assert extended(values).shape == (1, spec.params + 2)
