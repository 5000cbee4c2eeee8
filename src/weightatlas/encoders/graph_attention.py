"""Attention over parameter graphs: along edges only, or over all pairs of nodes."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightatlas.encoders.graph_messages import grids
from weightatlas.encoders.perceptron import perceptron
from weightatlas.errors import ConfigError
from weightatlas.weights.graph import ParameterGraph


class Relational(nn.Module):
    """What both kinds of relational attention share: projections, node update, edge update.

    `q_ij = q_i + W_q e_ij`, `k_ij = k_j + W_k e_ij`, `v_ij = v_j * (1 + W_m e_ij) + W_v e_ij`
    (Kofinas et al., 2024, NG-T); post-norm.

    Args:
        nodes: Width of node states.
        edges: Width of edge states.
        heads: Attention heads.
        ways: Directions in which attention runs.
        dropout: Dropout probability of the updates.
        renew: Whether edges get new states; nobody reads those of the last round.
    """

    def __init__(self, nodes: int, edges: int, heads: int, ways: int, dropout: float, renew: bool) -> None:
        super().__init__()
        if nodes % heads:
            raise ConfigError(f"nodes={nodes} is not a multiple of heads={heads}.")
        self.heads, self.ways = heads, ways
        self.qkv = nn.Linear(nodes, 3 * nodes * ways)
        self.relation = nn.Linear(edges, 4 * nodes * ways)
        self.out = nn.Linear(nodes * ways, nodes)
        self.norm, self.second = nn.LayerNorm(nodes), nn.LayerNorm(nodes)
        self.feed = perceptron((nodes, 2 * nodes, nodes), dropout, last=False)
        self.renew = perceptron((2 * edges + 2 * nodes, edges, edges), last=False) if renew else None
        self.edge_norm = nn.LayerNorm(edges) if renew else None

    def updated(self, nodes: Tensor, mixed: Tensor) -> Tensor:
        """Add what attention found, then the feed-forward part."""
        nodes = self.norm(nodes + self.out(mixed))
        return self.second(nodes + self.feed(nodes))

    def renewed(self, edges: Tensor, around: list[Tensor]) -> Tensor:
        """New edge states from those of the edge and of the nodes at its ends."""
        if self.renew is None or self.edge_norm is None:
            return edges
        return self.edge_norm(edges + self.renew(torch.cat([edges, *around], dim=-1)))

    def split(self, x: Tensor, parts: int) -> list[Tensor]:
        """Cut the last axis into directions x parts x heads: one `(..., heads, width)` each."""
        shaped = x.unflatten(-1, (self.ways * parts, self.heads, -1))
        return list(shaped.unbind(-3))


class EdgeAttention(Relational):
    """Every node attends to the sources of its edges, and apart to their targets: cost O(edges)."""

    def __init__(self, nodes: int, edges: int, heads: int, dropout: float = 0.0, renew: bool = True) -> None:
        super().__init__(nodes, edges, heads, 2, dropout, renew)

    def forward(self, graph: ParameterGraph, nodes: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Return new node and edge states."""
        projected = self.split(self.qkv(nodes), 3)
        related = self.split(self.relation(edges), 4)
        ends = (graph.target, graph.source)
        found = []
        for way in range(2):
            query, key, value = projected[3 * way : 3 * way + 3]
            e_query, e_key, e_scale, e_value = related[4 * way : 4 * way + 4]
            asks, answers = ends[way], ends[1 - way]
            score = (query[:, asks] + e_query) * (key[:, answers] + e_key)
            score = score.sum(-1, keepdim=True) / query.shape[-1] ** 0.5
            message = value[:, answers] * (1 + e_scale) + e_value
            gather = _attend_in if way == 0 else _attend_out
            found.append(gather(graph, score.flatten(2), message.flatten(2), self.heads))
        nodes = self.updated(nodes, torch.cat(found, dim=-1))
        # An edge has no partner in the other direction here, so it is its own.
        return nodes, self.renewed(edges, [edges, nodes[:, graph.source], nodes[:, graph.target]])


def _attend_in(graph: ParameterGraph, score: Tensor, message: Tensor, heads: int) -> Tensor:
    """Softmax over the incoming edges of every node."""
    count, parts = len(score), []
    for block in graph.blocks:
        size = block.nodes.stop - block.nodes.start
        if not block.degree:
            parts.append(message.new_zeros(count, size, message.shape[-1]))
            continue
        share = score[:, block.edges].reshape(count, size, block.degree, heads, 1).softmax(2)
        values = message[:, block.edges].reshape(count, size, block.degree, heads, -1)
        parts.append((share * values).sum(2).flatten(2))
    return torch.cat(parts, dim=1)


def _attend_out(graph: ParameterGraph, score: Tensor, message: Tensor, heads: int) -> Tensor:
    """Softmax over the rows of every grid; a node that several grids read gets their mean."""
    count, width = len(score), message.shape[-1]
    total = message.new_zeros(count, graph.nodes, width)
    reads = message.new_zeros(graph.nodes)
    for block in graph.blocks:
        pairs = zip(grids(block, score), grids(block, message), strict=True)
        for (source, scores), (_, values) in pairs:
            share = scores.softmax(3)[..., None]
            mixed = (share * values.unflatten(-1, (heads, -1))).sum(3)
            total = total.index_add(1, source, mixed.reshape(count, len(source), width))
            reads = reads.index_add(0, source, torch.ones_like(source, dtype=reads.dtype))
    return total / reads.clamp_min(1)[:, None]


class DenseAttention(Relational):
    """Attention over all pairs of nodes, edge states dense and zero where no edge is: cost O(nodes^2)."""

    def __init__(self, nodes: int, edges: int, heads: int, dropout: float = 0.0, renew: bool = True) -> None:
        super().__init__(nodes, edges, heads, 1, dropout, renew)

    def forward(self, graph: ParameterGraph, nodes: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Return new node states and edge states `(networks, nodes, nodes, width)`."""
        query, key, value = self.split(self.qkv(nodes), 3)
        e_query, e_key, e_scale, e_value = self.split(self.relation(edges), 4)
        score = (query[:, :, None] + e_query) * (key[:, None] + e_key)
        share = (score.sum(-1, keepdim=True) / query.shape[-1] ** 0.5).softmax(2)
        mixed = (share * (value[:, None] * (1 + e_scale) + e_value)).sum(2).flatten(2)
        nodes = self.updated(nodes, mixed)
        shape = (*edges.shape[:3], nodes.shape[-1])
        ends = [nodes[:, None].expand(shape), nodes[:, :, None].expand(shape)]
        return nodes, self.renewed(edges, [edges.transpose(1, 2), *ends])


def dense_edges(
    graph: ParameterGraph, edges: Float[Tensor, "networks edges width"]
) -> Float[Tensor, "networks nodes nodes width"]:
    """Write edge states into a square: row = target, column = source; parallel edges add up."""
    square = edges.new_zeros(len(edges), graph.nodes**2, edges.shape[2])
    filled = square.index_add(1, graph.target * graph.nodes + graph.source, edges)
    return filled.unflatten(1, (graph.nodes, graph.nodes))
