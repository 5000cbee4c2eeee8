"""Neural graphs: invariant, for any architecture, dense and blocked attention over the same graph."""

from typing import Any

import pytest
import torch

from tests.encoders import small
from tests.encoders.laws import STRUCTURES, changes, mixed_equals_alone
from weightatlas.encoders.graph_attention import dense_edges
from weightatlas.encoders.graph_input import GraphInput
from weightatlas.encoders.graph_messages import gather_in, gather_out, pna
from weightatlas.encoders.io import create_encoder
from weightatlas.weights.batch import weights_of
from weightatlas.weights.graph import parameter_graph

TINY: dict[str, Any] = {"nodes": 8, "edges": 6, "layers": 2, "heads": 2}
KINDS = ("gnn", "transformer", "legacy")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_embeddings_ignore_permutations_but_not_wrong_ones(kind: str, structure: str):
    encoder = create_encoder("neural_graph", seed=3, kind=kind, fourier=2 * (kind == "gnn"), **TINY)
    same, wrong = changes(encoder, structure)
    assert same < 1e-9
    assert wrong > 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_architectures_mix(kind: str):
    mixed_equals_alone("neural_graph", kind=kind, **TINY)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains(kind: str):
    encoder = create_encoder("neural_graph", kind=kind, readout="outputs", reverse=False, **TINY)
    embedding = encoder.encode(weights_of(small.values(4), small.spec())).embedding
    assert embedding.shape == (4, 8 * small.CLASSES)
    (embedding - 1).square().sum().backward()
    idle = [n for n, p in encoder.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert not idle


def test_gathering_equals_a_loop_over_nodes():
    graph = parameter_graph(small.spec())
    messages = torch.randn(2, graph.edges, 5)
    inward, outward = gather_in(graph, messages, pna, 20), gather_out(graph, messages, pna, 20)
    for node in range(graph.nodes):
        for ends, found in ((graph.target, inward), (graph.source, outward)):
            own = messages[:, ends == node]
            expected = pna(own) if own.shape[1] else torch.zeros(2, 20)
            torch.testing.assert_close(found[:, node], expected)


def test_dense_edges_lie_at_target_and_source():
    start = GraphInput(4, 3, 3)
    graph, _, edges = start(weights_of(small.values(2), small.spec()))
    square = dense_edges(graph, edges)
    torch.testing.assert_close(square[:, graph.target, graph.source], edges)
    assert int((square != 0).any(-1)[0].sum()) == graph.edges
